"""What numbers a scan's voxels may hold."""

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from braing3n.data.findings import Finding, finding, refusal

Voxels = NDArray[np.float32]

# A picture is told from a mask by this many values.
_MIN_VALUES = 20
_SAMPLE = 50_000
# Neighbours in a picture resemble each other: least correlation over the brighter half.
_MIN_CORRELATION = 0.3
# Air in a CT scan, in Hounsfield units: a peak this narrow, of at least this share.
_AIR = (-1060.0, -940.0)
_BESIDE_AIR = (-940.0, -820.0)
_MIN_AIR_SHARE = 0.01


@np.errstate(over="ignore", invalid="ignore")  # infinities are looked for where they matter
def scale(path: Path, header: Any, stored: NDArray[Any]) -> tuple[Voxels, list[Finding]]:
    """Return (X, Y, Z) float32 intensities: stored numbers times slope plus intercept.

    Args:
        path: The scan.
        header: nibabel's, for slope and intercept.
        stored: (X, Y, Z) of any real type.

    Raises:
        RefusedScanError: The slope or the intercept is not a number.
    """
    remarks = list[Finding]()
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise refusal("scale-unusable", path, f"intercept {header['scl_inter']}") from error
    kind = stored.dtype
    if kind.newbyteorder("<") not in (np.dtype("<u1"), np.dtype("<i2"), np.dtype("<f4")) or (
            kind.byteorder == ">"):
        remarks.append(finding("type-converted", path, _type_name(kind)))
    voxels = stored.astype(np.float32)
    if slope is not None and (slope, intercept) != (1, 0):
        voxels *= np.float32(slope)
        voxels += np.float32(intercept)
        remarks.append(finding("scale-applied", path, f"times {slope:g} plus {intercept:g}"))
    return voxels, remarks


def check_intensities(path: Path, voxels: Voxels) -> None:
    """Look at every voxel.

    Raises:
        RefusedScanError: They cannot be the intensities of a magnetic resonance scan.
    """
    low, high = float(voxels.min()), float(voxels.max())
    if not np.isfinite([low, high]).all():
        bad = voxels.size - int(np.isfinite(voxels).sum())
        raise refusal("voxels-not-finite", path, f"{bad} NaN or infinite voxels")
    if low == high:
        raise refusal("voxels-constant", path, f"{low:g} in every voxel")
    values = _count_values(voxels)
    if values < _MIN_VALUES:
        raise refusal("voxels-few-values", path, f"{values} different values")
    if low < _AIR[1] and _is_ct(voxels.reshape(-1, order="A")[:: voxels.size // _SAMPLE | 1]):
        raise refusal("voxels-ct", path, "air near -1000, as in Hounsfield units")
    correlation = neighbour_correlation(voxels)
    if correlation < _MIN_CORRELATION:
        raise refusal("voxels-noise", path,
                      f"a correlation of {correlation:.2f} between neighbours")


def neighbour_correlation(voxels: Voxels) -> float:
    """Return the largest correlation, over the axes, of voxels in the middle with their neighbours.

    Only pairs above the middle slices' median count: the step from background to head would make
    neighbours of anything alike.
    """
    results = []
    for axis in range(3):
        # A slab of four slices through the middle, which holds the axis.
        across = (axis + 1) % 3
        middle = voxels.shape[across] // 2
        cut: list[slice] = [slice(None)] * 3
        cut[across] = slice(max(0, middle - 2), middle + 2)
        slab = np.moveaxis(voxels[tuple(cut)], axis, 0)
        first, second = slab[:-1], slab[1:]
        level = np.median(slab)
        both = (first > level) & (second > level)
        a, b = first[both].astype(np.float64), second[both].astype(np.float64)
        if len(a) < 100 or a.std() == 0 or b.std() == 0:
            continue
        top = np.percentile(a, 99)  # a hot voxel must not decide
        results.append(float(np.corrcoef(np.minimum(a, top), np.minimum(b, top))[0, 1]))
    return max(results, default=1.0)


def _count_values(voxels: Voxels) -> int:
    """Return how many different values there are, or `_MIN_VALUES` where there are more.

    The middle slice of a picture has them all; only a mask is looked through to its end.
    """
    seen = np.empty(0, np.float32)
    middle = voxels.shape[2] // 2
    for number in sorted(range(voxels.shape[2]), key=lambda number: abs(number - middle)):
        seen = np.union1d(seen, voxels[:, :, number])
        if len(seen) >= _MIN_VALUES:
            return _MIN_VALUES
    return len(seen)


def _is_ct(sample: Voxels) -> bool:
    """Tell whether a narrow peak lies where CT has air."""
    air = np.mean((sample > _AIR[0]) & (sample < _AIR[1]))
    beside = np.mean((sample >= _BESIDE_AIR[0]) & (sample < _BESIDE_AIR[1]))
    return bool(air >= _MIN_AIR_SHARE and air > 3 * beside)


def _type_name(kind: np.dtype[Any]) -> str:
    return kind.name + (", big-endian" if kind.byteorder == ">" else "")
