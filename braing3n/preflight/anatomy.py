"""What a person would see in a scan at a glance: where the head is, whether it is whole, its contrast.

Thresholds are our own, chosen on whole, stripped, defaced and broken scans; all of them lead to
warnings only.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from braing3n.data.findings import Finding, finding
from braing3n.data.nifti.geometry import is_coarse
from braing3n.data.scan import Scan
from braing3n.preflight.look import Look, box_of

_WHOLE_MM = (90.0, 260.0)
# The largest of adults' heads, with neck and all, takes 7 litres.
_LARGEST_HEAD_ML = 10_000.0
# A whole brain ends in a tip: the outermost section has at most 0.15 of the widest one's area, 0.22
# in a scan of thick slices; 10 mm off the crown leave 0.3.
_CUT_SHARE = 0.3
# The area of sections grows and falls again: their changes add up to twice the widest one's, 1.3
# times that in poorly stripped brains, 3 times and more where slices are out of order.
_MAX_VARIATION = 1.8
# The lowest quarter of a brain has its middle behind that of the brain, where the cerebellum is: at
# 0.31 to 0.43 of its length from behind. Turned or upside down it is at 0.47 or more.
_CEREBELLUM_BEHIND = 0.46
_HOT_RATIO, _HOT_SPREADS = 10.0, 100.0
# Resampling leaves some voxels a little below the background, where it is crossed steeply.
_BELOW_SHARE, _BELOW_DEPTH = 0.05, 0.1
_SATURATED_SHARE = 0.3
# In T1w the deep white matter is brighter than the rim, in T2w the fluid around the brain is.
# Rank correlation of depth and intensity, leaving out the outermost millimetres: 0.4 to 0.85 in
# stripped T1w scans of two hospitals and a template, -0.6 to -0.8 in their negatives.
_RIM_MM, _CONTRAST_LIMIT = 5.0, 0.15
# Where a face is: this far below the crown, in the front quarter of the head, its middle half.
_FACE_MM, _MIN_FACE_MM, _FACE_SHARE = (110.0, 200.0), 40.0, 0.3



def anatomy_findings(scan: Scan, look: Look, modality: str | None) -> list[Finding]:
    """Return what looks wrong, though it can be read.

    Args:
        scan: The scan itself, for its brightest and its darkest voxel.
        look: Of the same scan.
        modality: What the file's name says: `T1w`, `T2w` or another; None where it says nothing.
    """
    found = [*_hot(scan, look), *_below_background(scan.path, look)]
    if is_coarse(scan.voxels.shape):
        return found
    found += [*_saturated(scan.path, look), *_disordered(scan.path, look)]
    cut_off = _field_of_view(scan.path, look)
    found += cut_off
    if look.is_stripped:
        found += _contrast(scan.path, look, modality)
        found += [] if cut_off else _turned(scan.path, look)
    else:
        found.append(finding("skull-present", scan.path, "no brain alone on an empty background"))
        found += _face(scan.path, look)
    return found


def _hot(scan: Scan, look: Look) -> list[Finding]:
    """Tell single voxels that would decide the range of all."""
    levels = look.levels
    lowest, brightest = float(scan.voxels.min()), float(scan.voxels.max())
    spread = levels.middle - levels.low
    is_hot = brightest > _HOT_RATIO * levels.top > 0
    if spread > 0:
        is_hot |= brightest - levels.middle > _HOT_SPREADS * spread
        if levels.middle - lowest > _HOT_SPREADS * spread:
            return [finding("voxels-hot", scan.path, f"a minimum of {lowest:.4g}, and a median of "
                            f"{levels.middle:.4g}")]
    if not is_hot:
        return []
    return [finding("voxels-hot", scan.path, f"a maximum of {brightest:.4g}, a median of "
                    f"{levels.middle:.4g}, and {levels.top:.4g} at the 99.9th percentile")]


def _below_background(path: Path, look: Look) -> list[Finding]:
    """Tell phase images, field maps, and numbers that were read with the wrong sign."""
    background, top = look.levels.background, look.levels.top
    if background is None or not len(look.intensities):
        return []
    share = float(np.mean(look.intensities < background - _BELOW_DEPTH * abs(top - background)))
    return [finding("voxels-below-background", path, f"{share:.0%} of the head's voxels")] if (
        share > _BELOW_SHARE) else []


def _saturated(path: Path, look: Look) -> list[Finding]:
    if not len(look.intensities):
        return []
    share = float(np.mean(look.intensities == look.intensities.max()))
    return [finding("voxels-saturated", path, f"{share:.0%} of the head's voxels")] if (
        share > _SATURATED_SHARE) else []


def _sections(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return for each axis the area of a mask in each plane across it, over the widest one's."""
    areas = [mask.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    return [area / max(1, int(area.max())) for area in areas]


def _disordered(path: Path, look: Look) -> list[Finding]:
    variation = [float(np.abs(np.diff(area, prepend=0, append=0)).sum()) / 2
                 for area in _sections(look.above)]
    if max(variation) <= _MAX_VARIATION:
        return []
    return [finding("slices-disordered", path,
                    f"sections of the head that grow and shrink {max(variation):.1f} times")]


def _field_of_view(path: Path, look: Look) -> list[Finding]:
    extent = np.array([part.stop - part.start for part in look.box]) * look.sizes
    size = " x ".join(f"{length:.0f}" for length in extent) + " mm"
    if extent.min() < _WHOLE_MM[0] or extent.max() > _WHOLE_MM[1] * (1 if look.is_stripped else 2):
        return [finding("field-of-view", path, f"{'a brain' if look.is_stripped else 'a head'} of "
                        f"{size}")]
    volume_ml = float(look.inside.sum() * look.sizes.prod()) / 1000
    if volume_ml > _LARGEST_HEAD_ML:
        return [finding("field-of-view", path, f"a head of {volume_ml / 1000:.0f} litres and {size}")]
    ends = [area[side] for area in _sections(look.inside[look.box]) for side in (0, -1)]
    if look.is_stripped and max(ends) > _CUT_SHARE:
        return [finding("field-of-view", path, "a brain that ends in a flat cut")]
    return []


def _turned(path: Path, look: Look) -> list[Finding]:
    """Look for the cerebellum at the back of the lowest quarter of a whole brain."""
    head = look.inside[look.box]
    area = head[:, :, : max(1, head.shape[2] // 4)].sum(axis=(0, 2))
    middle = float((area * (np.arange(len(area)) + 0.5)).sum() / area.sum() / len(area))
    if middle <= _CEREBELLUM_BEHIND:
        return []
    return [finding("orientation-unlikely", path,
                    f"the middle of the lowest quarter at {middle:.0%} of the brain's length from "
                    "behind, as the header has it", expected=f"at most {_CEREBELLUM_BEHIND:.0%}")]


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
    crown = box_of(look.inside[:, :, top:])
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
