"""A coarse copy of a scan, and where the head or brain is in it.

The copy is in RAS orientation, so that a scan of any resolution takes milliseconds.
"""

from dataclasses import dataclass, replace

import numpy as np
from nibabel.orientations import apply_orientation
from numpy.typing import NDArray
from scipy import ndimage

from braing3n.data.axes import orientation, sizes_mm
from braing3n.data.canonical import canonical, is_stripped
from braing3n.data.scan import Scan

_COARSE_MM = 3.0
# With one exact value on more than half of the volume's six faces, that is the background.
_EXACT_SHARE = 0.5
_LEVELS = (0.5, 50, 99.5, 99.9)


@dataclass(frozen=True)
class Levels:
    """Intensities to judge others by.

    Attributes:
        background: The value that most of the volume's faces share; None where they share none.
        low: The 0.5th percentile inside the head.
        middle: The median there.
        high: The 99.5th percentile there.
        top: The 99.9th percentile there.
    """

    background: float | None
    low: float
    middle: float
    high: float
    top: float


@dataclass(frozen=True)
class Look:
    """A coarse copy of a scan, and what of it is head or brain.

    Attributes:
        voxels: (x, y, z) float32 in RAS orientation, about 3 mm.
        sizes: (3,) its voxel edges in mm.
        above: (x, y, z) what is no background.
        inside: (x, y, z) the largest connected part of it.
        intensities: (n,) float32, the voxels inside.
        levels: Of them; 0, and 1 for the high one, where there are none.
        box: The smallest box around it.
        is_stripped: Whether that is a brain alone.
        background_share: Share of voxels that are exactly the background's value.
    """

    voxels: NDArray[np.float32]
    sizes: NDArray[np.float64]
    above: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    intensities: NDArray[np.float32]
    levels: Levels
    box: tuple[slice, ...]
    is_stripped: bool
    background_share: float


def look_at(scan: Scan) -> Look:
    """Make the coarse copy and find the head or brain in it."""
    fine = sizes_mm(scan.affine)
    steps = [max(1, round(_COARSE_MM / size)) for size in fine]
    cut = tuple(slice(None, None, step) for step in steps)
    coarse = replace(scan, voxels=scan.voxels[cut], affine=scan.affine @ np.diag([*steps, 1]))
    placed = orientation(scan.affine)
    voxels = np.ascontiguousarray(apply_orientation(coarse.voxels, placed))
    sizes = np.zeros(3)
    sizes[placed[:, 0].astype(int)] = fine * steps
    value, share = _most_common_on_faces(voxels)
    if share > _EXACT_SHARE:
        above = voxels != value
    else:
        above = voxels > 0.5 * _otsu(np.minimum(voxels, np.percentile(voxels, 99.5)))
    inside = _largest_part(above)
    intensities = voxels[inside]
    percentiles = np.percentile(intensities, _LEVELS).tolist() if len(intensities) else (0, 0, 1, 0)
    levels = Levels(value if share > _EXACT_SHARE else None, *percentiles)
    return Look(voxels, sizes, above, inside, intensities, levels, box_of(inside),
                is_stripped(canonical(coarse)), float((voxels == value).mean()))


def _most_common_on_faces(voxels: NDArray[np.float32]) -> tuple[float, float]:
    faces = np.concatenate([np.take(voxels, side, axis).ravel()
                            for axis in range(3) for side in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()]), float(counts.max() / faces.size)


def _otsu(voxels: NDArray[np.float32]) -> float:
    """Return the threshold that separates two classes best.

    Otsu 1979, "A threshold selection method from gray-level histograms",
    https://doi.org/10.1109/TSMC.1979.4310076.
    """
    counts, edges = np.histogram(voxels, 128)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    sums = np.cumsum(counts * centres)
    above = counts.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(centres[int(np.nan_to_num(between).argmax())])


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(labels == np.bincount(labels.ravel())[1:].argmax() + 1)


def box_of(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the smallest box around what is True; the whole volume where nothing is."""
    box = []
    for axes in ((1, 2), (0, 2), (0, 1)):
        held = np.flatnonzero(mask.any(axis=axes))
        if not len(held):
            return tuple(slice(0, size) for size in mask.shape)
        box.append(slice(int(held[0]), int(held[-1]) + 1))
    return tuple(box)
