"""A scan with its axes in one order and a background of 0, and whether it looks skull-stripped."""

from dataclasses import replace
from typing import Any

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    ornt_transform,
)
from numpy.typing import NDArray

from braing3n.data.axes import orientation
from braing3n.data.scan import Scan
from braing3n.errors import ScanError

AXES = "LPS"

# The six faces of a volume, as indices.
_FACES = tuple((slice(None),) * axis + (side,) for axis in range(3) for side in (0, -1))

# A brain of an adult takes 1 to 2 litres with its ventricles, 2.4 in the most generous of masks;
# a head without background 4 and more. A brain leaves half of the narrowest box to the background.
_LARGEST_BRAIN_ML = 3000.0
_LEAST_BACKGROUND = 0.3


def canonical(scan: Scan) -> Scan:
    """Return the scan with X to the left, Y to the back and Z upwards, and a background of 0.

    Background is the value that most of the scan's six faces share. It is 0 in most stripped
    scans, but not when the header has an intercept. Voxels are not copied where it is.
    """
    current = orientation(scan.affine)
    change = ornt_transform(current, axcodes2ornt(AXES))
    voxels = apply_orientation(scan.voxels, change)
    background = _background(voxels)
    if background:
        voxels = voxels - np.float32(background)
    return replace(scan, voxels=voxels, affine=scan.affine @ inv_ornt_aff(change, scan.voxels.shape))


def body_ml(scan: Scan) -> float:
    """Return the volume of what is not background in a canonical scan."""
    voxel_ml = abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000
    return int(np.count_nonzero(scan.voxels)) * voxel_ml


def is_stripped(scan: Scan) -> bool:
    """Tell whether a canonical scan is background around a body that may be a brain."""
    return body_ml(scan) <= _LARGEST_BRAIN_ML and _background_share(scan) >= _LEAST_BACKGROUND


def check_stripped(scan: Scan) -> None:
    """Refuse a canonical scan that cannot be of a brain alone.

    A scanner's noise around the head is no exact background, and a head is larger than a brain.
    A small child's head on an empty background may pass.

    Raises:
        ScanError: With what was found, and how skulls are stripped.
    """
    if is_stripped(scan):
        return
    raise ScanError(
        f"{scan.path} does not look skull-stripped",
        expected=f"a brain of at most {_LARGEST_BRAIN_ML / 1000:g} litres, and at least "
                 f"{_LEAST_BACKGROUND:.0%} of the voxels background of one value",
        found=f"{body_ml(scan) / 1000:.2f} litres, and {_background_share(scan):.0%} background",
        fix="strip the skulls before training, or by `preprocessing: skull_strip: hd-bet`; if it "
            "is a brain, `preprocessing: check: false` takes every scan as it is")


def stripped_rule() -> dict[str, float]:
    """Return the bounds of `check_stripped`, for a record."""
    return {"largest_brain_ml": _LARGEST_BRAIN_ML, "least_background": _LEAST_BACKGROUND}


def _background_share(scan: Scan) -> float:
    return 1 - int(np.count_nonzero(scan.voxels)) / scan.voxels.size


def _background(voxels: NDArray[Any]) -> float:
    """Return the value outside the brain: what most face voxels share, or else 0."""
    faces = np.concatenate([voxels[side].ravel() for side in _FACES])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()]) if counts.max() > faces.size / 2 else 0.0
