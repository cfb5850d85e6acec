"""Measuring anatomy on volumes that the networks take or make, to check them against truth."""

import numpy as np
import numpy.typing as npt

# Where the ventricles are, in mm from the middle of the brain's bounding box, along left,
# posterior and superior. Wide enough for old and shifted ventricles, short of the insula.
_REGION_MM = ((-32.0, 32.0), (-47.0, 38.0), (-5.0, 33.0))
# Percentiles of the region that stand for pure CSF and for white matter. CSF's is of the region
# itself, so that a blurred brain is judged by its own darkest voxels.
_CSF_PERCENTILE, _WHITE_PERCENTILE = 1.0, 75.0
# Shares of the way from CSF to white matter that count as all CSF, and as none: deep grey matter
# begins at about 0.65, and noise makes CSF's own values spread by about 0.15.
_ALL_CSF, _NO_CSF = 0.15, 0.65


def ventricle_ml(volume: npt.NDArray[np.floating], voxel_mm: float) -> float:
    """Return the volume of dark CSF in the middle of a brain, in millilitres.

    Each voxel counts by its share of CSF, linear in intensity between two levels that are taken
    from the region itself: any shift and positive scale of the intensities gives the same result.

    Args:
        volume: (X, Y, Z) T1w on the model's grid: X to the left, Y to the back, Z upwards, centred
            on the brain's bounding box.
        voxel_mm: Edge of a voxel.

    Returns:
        0 where the region has no contrast.

    Raises:
        ValueError: The volume is not three-dimensional, not finite, or too small for the region.
    """
    if volume.ndim != 3 or not np.isfinite(volume).all():
        raise ValueError(f"expected one finite volume (X, Y, Z), found shape {volume.shape}")
    region = _central_region(volume.astype(np.float64), voxel_mm)
    csf, white = np.percentile(region, (_CSF_PERCENTILE, _WHITE_PERCENTILE))
    if white <= csf:
        return 0.0
    brightness = (region - csf) / (white - csf)
    share = np.clip((_NO_CSF - brightness) / (_NO_CSF - _ALL_CSF), 0, 1)
    return float(share.sum()) * voxel_mm**3 / 1000


def _central_region(
    volume: npt.NDArray[np.float64], voxel_mm: float
) -> npt.NDArray[np.float64]:
    box = []
    for length, (low, high) in zip(volume.shape, _REGION_MM, strict=True):
        places_mm = (np.arange(length) - (length - 1) / 2) * voxel_mm
        inside = np.flatnonzero((places_mm > low) & (places_mm < high))
        if places_mm[0] > low or places_mm[-1] < high:
            raise ValueError(f"the volume is {length * voxel_mm:g} mm wide, too little for a brain")
        box.append(slice(inside[0], inside[-1] + 1))
    return volume[tuple(box)]
