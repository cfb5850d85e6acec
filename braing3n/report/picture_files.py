"""The arrays that a run's folder may hold: sites' pictures and generated brains, read and checked."""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braing3n.errors import OutputError

Floats = NDArray[np.floating[Any]]

# One subject's volumes, as a site's pictures.npz names them, in the order of the stages.
PICTURE_NAMES = ("original", "masked", "mae", "decoder")


@dataclass(frozen=True)
class Generated:
    """Brains that the finished model made.

    Attributes:
        volumes: (A, D, X, Y, Z) z-scored, one a pair of age and diagnosis.
        ages: (A,) years.
        diagnoses: D names.
    """

    volumes: Floats
    ages: Floats
    diagnoses: tuple[str, ...]


def load_pictures(run: Path, site: str) -> Mapping[str, Floats] | None:
    """Return a site's pictures by name, each (X, Y, Z), or None where the site kept them.

    Raises:
        OutputError: The file is not what a site writes.
    """
    # The name is looked up among folders, never made into a path: run.json could say `../..`.
    paths = {path.parent.name: path for path in (run / "sites").glob("*/pictures.npz")}
    if site not in paths:
        return None
    arrays = _load_arrays(paths[site])
    pictures = {name: arrays[name] for name in PICTURE_NAMES if name in arrays}
    shapes = {array.shape for array in pictures.values()}
    if "original" not in pictures or len(shapes) != 1 or len(shapes.pop()) != 3:
        raise _not_arrays(paths[site], "3-D arrays of one shape, `original` among them",
                          _shapes(arrays))
    return pictures


def load_generated(run: Path) -> Generated | None:
    """Return the generated brains, or None where the run did not come so far.

    Raises:
        OutputError: The file is not what a run writes.
    """
    path = run / "generated.npz"
    if not path.exists():
        return None
    arrays = _load_arrays(path)
    expected = "volumes (A, D, X, Y, Z), ages (A,), diagnoses (D,)"
    if set(arrays) != {"volumes", "ages", "diagnoses"} or arrays["volumes"].ndim != 5:
        raise _not_arrays(path, expected, _shapes(arrays))
    volumes, ages, diagnoses = arrays["volumes"], arrays["ages"], arrays["diagnoses"]
    if ages.shape + diagnoses.shape != volumes.shape[:2] or 0 in volumes.shape:
        raise _not_arrays(path, expected, _shapes(arrays))
    return Generated(volumes, ages, tuple(str(name) for name in diagnoses))


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile,
            zlib.error) as error:
        raise _not_arrays(path, "a whole .npz file", str(error)) from error


def _shapes(arrays: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"


def _not_arrays(path: Path, expected: str, found: str) -> OutputError:
    return OutputError(f"{path} does not hold its arrays", expected=expected, found=found,
                       fix="copy it again, or remove it: the report does without")
