"""ANTs (https://github.com/ANTsX/ANTsPy), made to give the same bits every time, and its images."""

import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braing3n.data.scan import Scan
from braing3n.data.tools.packages import required_version

PACKAGE = "antspyx"
_KNOWN = "0.6.3"
_SEED = 1
# From millimetres to the right and anterior, as in NIfTI, to the left and posterior, as in ITK.
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ants_version(setting: str) -> str:
    """Return the version of ANTsPy.

    Raises:
        ConfigError: It is not installed.
    """
    return required_version(PACKAGE, _KNOWN, "ants", setting)


@cache
def open_ants() -> Any:
    """Return the module of ANTsPy, with one thread and a fixed seed: the same bits every time.

    ITK reads the number of threads once, when it is first used in a process.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    import ants  # noqa: PLC0415  # takes seconds, and is not there where no site asks for it

    # Its own "deterministic" mode refuses affine registration; the seed alone is what is needed.
    ants.config.set_ants_deterministic(on=False, seed_value=_SEED)
    return ants


def to_ants(voxels: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """Return (X, Y, Z) voxels as an ANTs image of float32.

    Rounding keeps last bits of the affine, which differ between copies of a scan that are stored in
    different orientations, out of the result.
    """
    placed = _RAS_TO_LPS @ affine
    spacing = np.linalg.norm(placed[:3, :3], axis=0)
    return open_ants().from_numpy(
        voxels.astype(np.float32), origin=tuple(placed[:3, 3].round(3)),
        spacing=tuple(spacing.round(4)), direction=(placed[:3, :3] / spacing).round(6))


def scan_to_ants(scan: Scan) -> tuple[Any, Any]:
    """Return a canonical scan and its mask (0 or 1) as ANTs images."""
    return to_ants(scan.voxels, scan.affine), to_ants(scan.voxels != 0, scan.affine)
