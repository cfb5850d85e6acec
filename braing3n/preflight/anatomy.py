"""What a person would see in a scan at a glance: where the head is, whether it is whole, its contrast.

All of it is judged on a coarse copy in RAS orientation, so that a scan of any resolution takes
milliseconds. Thresholds are our own, chosen on whole, stripped, defaced and broken scans; all of
them lead to warnings only.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation
from numpy.typing import NDArray
from scipy import ndimage

from braing3n.data.canonical import canonical, is_stripped
from braing3n.data.findings import Finding, finding
from braing3n.data.nifti.geometry import is_coarse, orientation, sizes_mm
from braing3n.data.scan import Scan

_COARSE_MM = 3.0
# With one exact value on more than half of the volume's six faces, that is the background.
_EXACT_SHARE = 0.5
_WHOLE_MM = (90.0, 260.0)
# A stripped brain that covers this share of a face of its volume goes on beyond it.
_CUT_SHARE = 0.25
_HOT_RATIO = 10.0
_LEVELS = (0.5, 99.5, 99.9)
# In T1w the deep white matter is brighter than the rim, in T2w the fluid around the brain is.
# Rank correlation of depth and intensity, leaving out the outermost millimetres: 0.4 to 0.85 in
# stripped T1w scans of two hospitals and a template, -0.6 to -0.8 in their negatives.
_RIM_MM, _CONTRAST_LIMIT = 5.0, 0.15
# Where a face is: this far below the crown, in the front quarter of the head, its middle half.
_FACE_MM, _MIN_FACE_MM, _FACE_SHARE = (110.0, 200.0), 40.0, 0.3


@dataclass(frozen=True)
class Look:
    """A coarse copy of a scan, and what of it is head or brain.

    Attributes:
        voxels: (x, y, z) float32 in RAS orientation, about 3 mm.
        sizes: (3,) its voxel edges in mm.
        inside: (x, y, z) the largest connected part above the background.
        intensities: (n,) float32, the voxels inside.
        levels: The 0.5th, 99.5th and 99.9th percentile of them; (0, 1, 0) where there are none.
        box: The smallest box around it.
        is_stripped: Whether that is a brain alone.
        background_share: Share of voxels that are exactly the background's value.
    """

    voxels: NDArray[np.float32]
    sizes: NDArray[np.float64]
    inside: NDArray[np.bool_]
    intensities: NDArray[np.float32]
    levels: tuple[float, float, float]
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
    low, high, top = np.percentile(intensities, _LEVELS).tolist() if len(intensities) else (0, 1, 0)
    return Look(voxels, sizes, inside, intensities, (low, high, top), _box_of(inside),
                is_stripped(canonical(coarse)), float((voxels == value).mean()))


def anatomy_findings(scan: Scan, look: Look, modality: str | None) -> list[Finding]:
    """Return what looks wrong, though it can be read.

    Args:
        scan: The scan itself, for its brightest voxel.
        look: Of the same scan.
        modality: What the file's name says: `T1w`, `T2w` or another; None where it says nothing.
    """
    found = _hot(scan, look)
    if is_coarse(scan.voxels.shape):
        return found
    found += _field_of_view(scan.path, look)
    if look.is_stripped:
        found += _contrast(scan.path, look, modality)
    else:
        found.append(finding("skull-present", scan.path, "no brain alone on an empty background"))
        found += _face(scan.path, look)
    return found


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


def _box_of(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the smallest box around what is True; the whole volume where nothing is."""
    box = []
    for axes in ((1, 2), (0, 2), (0, 1)):
        held = np.flatnonzero(mask.any(axis=axes))
        if not len(held):
            return tuple(slice(0, size) for size in mask.shape)
        box.append(slice(int(held[0]), int(held[-1]) + 1))
    return tuple(box)


def _hot(scan: Scan, look: Look) -> list[Finding]:
    usual = look.levels[2]
    brightest = float(scan.voxels.max())
    if usual <= 0 or brightest <= _HOT_RATIO * usual:
        return []
    return [finding("voxels-hot", scan.path,
                    f"a maximum of {brightest:.4g}, and {usual:.4g} at the 99.9th percentile")]


def _field_of_view(path: Path, look: Look) -> list[Finding]:
    extent = np.array([part.stop - part.start for part in look.box]) * look.sizes
    size = " x ".join(f"{length:.0f}" for length in extent) + " mm"
    if extent.min() < _WHOLE_MM[0] or extent.max() > _WHOLE_MM[1] * (1 if look.is_stripped else 2):
        return [finding("field-of-view", path, f"{'a brain' if look.is_stripped else 'a head'} of "
                        f"{size}")]
    on_faces = [np.take(look.inside, side, axis).mean() for axis in range(3) for side in (0, -1)]
    if look.is_stripped and max(on_faces) > _CUT_SHARE:
        return [finding("field-of-view", path, "a brain that goes on beyond the volume's edge")]
    return []


def _contrast(path: Path, look: Look, modality: str | None) -> list[Finding]:
    """Compare the order of intensities from the rim inwards with what the name says."""
    if modality not in ("T1w", "T2w"):
        return []
    every_second = (slice(None, None, 2),) * 3
    part = np.pad(look.inside[look.box][every_second], 1)
    depth = ndimage.distance_transform_edt(part, sampling=look.sizes * 2)[1:-1, 1:-1, 1:-1]
    deep = depth > _RIM_MM
    if deep.sum() < 300:
        return []
    values = look.voxels[look.box][every_second][deep]
    correlation = float(np.corrcoef(_ranks(depth[deep]), _ranks(values))[0, 1])
    wrong = correlation < -_CONTRAST_LIMIT if modality == "T1w" else correlation > _CONTRAST_LIMIT
    if not wrong:
        return []
    return [finding("contrast-unexpected", path,
                    f"a brain that is {'darker' if modality == 'T1w' else 'brighter'} inside than at "
                    f"its rim, under the name {modality}")]


def _face(path: Path, look: Look) -> list[Finding]:
    """Look for tissue where a face is, in a scan with its skull."""
    across, along, up = look.box
    below = [round(up.stop - limit / look.sizes[2]) for limit in _FACE_MM]
    bottom, top = max(below[1], up.start), below[0]
    if (top - bottom) * look.sizes[2] < _MIN_FACE_MM:
        return []
    # The head's own front, told above the face.
    crown = _box_of(look.inside[:, :, top:])
    front, back = crown[1].stop, crown[1].start
    middle, half = (across.start + across.stop) // 2, (across.stop - across.start) // 4
    region = look.inside[middle - half : middle + half,
                         front - (front - back) // 4 : along.stop, bottom:top]
    share = float(region.mean()) if region.size else 0.0
    if share < _FACE_SHARE:
        return []
    return [finding("face-present", path, f"tissue in {share:.0%} of the place where a face is")]


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    return values.argsort(kind="stable").argsort(kind="stable").astype(np.float64)
