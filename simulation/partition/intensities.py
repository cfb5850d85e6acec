"""How the grey values of sites differ: histograms of a few scans of each, like with like."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braing3n.data.preprocess import preprocess
from braing3n.data.reading import load_scan
from braing3n.errors import ScanError
from braing3n.files import digest_bytes
from braing3n.presets import PRESETS
from simulation.partition.parts import SitePart
from simulation.partition.profiles import EDGES, Intensities, Profile
from simulation.partition.skew import histogram_distance

_PRESET = PRESETS["nano"]  # 4 mm voxels, whatever a site's own are: seconds, and little noise


def compare_intensities(sites: Sequence[SitePart], scans_per_site: int,
                        progress: Callable[[int, int], None] | None = None) -> Intensities:
    """Read a few scans of each site and modality, and compare their grey values.

    Scans are preprocessed as for training with the smallest preset, so each has a mean of 0 and a
    standard deviation of 1: what differs is contrast, noise and artefacts, not the scale.

    Args:
        sites: Of a partition.
        scans_per_site: At most so many subjects of each site and modality, one scan each, chosen by a
            hash of the subject's id: not by what is known of them, nor by their order.
        progress: Called with (done, all) after each scan.
    """
    chosen = [(site.name, *scan) for site in sites for scan in _choose(site, scans_per_site)]
    found: dict[str, dict[str, list[NDArray[np.float64]]]] = {}
    refused: dict[str, list[str]] = {}
    for done, (name, modality, path) in enumerate(chosen, start=1):
        try:
            density = _density(path)
        except ScanError as error:
            refused.setdefault(name, []).append(error.found)
        else:
            found.setdefault(modality, {}).setdefault(name, []).append(density)
        if progress is not None:
            progress(done, len(chosen))
    return Intensities({modality: _profiles(of_site) for modality, of_site in sorted(found.items())},
                       {name: (len(reasons), reasons[0]) for name, reasons in refused.items()})


def _choose(site: SitePart, count: int) -> list[tuple[str, Path]]:
    """Return the modality and the file of each scan that is to be read."""
    first: dict[tuple[str, str], Path] = {}
    for row in site.rows:
        if row.path is not None and row.conditions.modality is not None:
            first.setdefault((row.conditions.modality, row.subject), row.path)
    by_hash = sorted(first.items(), key=lambda item: digest_bytes(item[0][1].encode()))
    modalities = sorted({modality for modality, _ in first})
    return [(modality, path) for modality in modalities for path in
            [path for (other, _), path in by_hash if other == modality][:count]]


def _density(path: Path) -> NDArray[np.float64]:
    """Return the (400,) histogram of a scan's z-scores inside the brain.

    Raises:
        ScanError: It cannot be used.
    """
    scores = preprocess(load_scan(path), _PRESET)               # (X, Y, Z), 0 outside the brain
    density, _ = np.histogram(scores[scores != 0].astype(np.float64), EDGES, density=True)
    return density


def _profiles(of_site: Mapping[str, Sequence[NDArray[np.float64]]]) -> dict[str, Profile]:
    profiles = {}
    for name, scans in of_site.items():
        others = [scan for other, more in of_site.items() if other != name for scan in more]
        density = np.mean(scans, axis=0)
        distance = histogram_distance(density, np.mean(others, axis=0), EDGES) if others else None
        profiles[name] = Profile(density, len(scans), distance)
    return profiles
