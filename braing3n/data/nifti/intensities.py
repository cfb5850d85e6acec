"""What numbers a scan's voxels may hold."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from braing3n.data.findings import Finding, finding, refusal

Voxels = NDArray[np.float32]

# A picture is told from a mask by this many values.
_MIN_VALUES = 20
_SAMPLE = 50_000
_MIN_PAIRS = 100
# Neighbours in a picture resemble each other: least correlation over the brighter half.
_MIN_CORRELATION = 0.3
# Air in a CT scan, in Hounsfield units: a peak this narrow, of at least this share.
_AIR = (-1060.0, -940.0)
_BESIDE_AIR = (-940.0, -820.0)
_MIN_AIR_SHARE = 0.01
# Pairs of neighbours that hold one value: 0 to 0.15 of them in scans, stripped, with a skull or of
# 8 bits; 0.25 in labels that were resampled linearly; 0.75 and more in atlases of 4 to 400 regions and
# in masks.
_MANY_EQUAL, _MAX_EQUAL = 0.2, 0.6
# A voxel above the median has a neighbour above it: 0.8 to 1 in scans, 0.5 where there is nothing
# but noise, less where every other voxel is lost.
_MIN_PAIRED = 0.3
# What the header's intent_code says of numbers that are no intensities (nifti1.h, 2003).
_INTENTS = ((range(2, 25), "a statistic"), (range(1002, 1004), "labels"),
            (range(1004, 1011), "vectors, matrices or a mesh"))


def slope_and_intercept(path: Path, header: Any) -> tuple[float, float]:
    """Return what stored numbers are multiplied by, and what is added then.

    A slope of 0, and the NaN that nibabel writes where there is nothing to scale, mean 1 and 0.

    Raises:
        RefusedScanError: The slope or the intercept is not a number, or the slope is so small that
            intensities would vanish.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not np.isfinite(intercept):
        raise refusal("scale-unusable", path, f"intercept {intercept}")
    if not np.isfinite(slope) or abs(slope) < np.finfo(np.float32).tiny:
        raise refusal("scale-unusable", path, f"slope {slope:g}")
    return slope, intercept


def _intent(path: Path, header: Any) -> list[Finding]:
    code = int(header["intent_code"])
    what = next((name for codes, name in _INTENTS if code in codes), None)
    return [] if what is None else [finding("intent-unexpected", path, f"{what} (code {code})")]


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
    slope, intercept = slope_and_intercept(path, header)
    remarks = _intent(path, header)
    kind = stored.dtype
    if kind.newbyteorder("<") not in (np.dtype("<u1"), np.dtype("<i2"), np.dtype("<f4")) or (
            kind.byteorder == ">"):
        remarks.append(finding("type-converted", path, _type_name(kind)))
    voxels = stored.astype(np.float32)
    if (slope, intercept) != (1, 0):
        voxels *= np.float32(slope)
        voxels += np.float32(intercept)
        remarks.append(finding("scale-applied", path, f"times {slope:g} plus {intercept:g}"))
    return voxels, remarks


def check_intensities(path: Path, voxels: Voxels) -> list[Finding]:
    """Look at every voxel, and return what is odd about them.

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
    alike = compare_neighbours(voxels)
    if alike.paired < _MIN_PAIRED:
        raise refusal("voxels-noise", path, f"{1 - alike.paired:.0%} of the brighter voxels without "
                      "a bright neighbour")
    if alike.correlation < _MIN_CORRELATION:
        raise refusal("voxels-noise", path,
                      f"a correlation of {alike.correlation:.2f} between neighbours")
    if alike.equal > _MAX_EQUAL:
        raise refusal("voxels-labels", path, f"{alike.equal:.0%} of the neighbours hold one value")
    if alike.equal > _MANY_EQUAL:
        return [finding("voxels-flat", path, f"{alike.equal:.0%} of the neighbours hold one value")]
    return []


class Alike(NamedTuple):
    """How voxels resemble their neighbours; over the axes, the largest of each but the last.

    Attributes:
        correlation: Of voxels with the next one.
        paired: Share of the bright voxels whose next one is bright.
        equal: Share of pairs of one value; over the axes, the least.
    """

    correlation: float
    paired: float
    equal: float


def compare_neighbours(voxels: Voxels) -> Alike:
    """Compare voxels in the middle of a volume with their neighbours.

    Only pairs above the middle slices' median count: the step from background to head would make
    neighbours of anything alike.
    """
    correlations, paired, equal = [], [], []
    # In an inverted picture the background is bright.
    corners, counts = np.unique(voxels[:: voxels.shape[0] - 1, :: voxels.shape[1] - 1,
                                       :: voxels.shape[2] - 1], return_counts=True)
    background = corners[counts.argmax()]
    for axis in range(3):
        # A slab of four slices through the middle, which holds the axis.
        across = (axis + 1) % 3
        middle = voxels.shape[across] // 2
        cut: list[slice] = [slice(None)] * 3
        cut[across] = slice(max(0, middle - 2), middle + 2)
        slab = np.moveaxis(voxels[tuple(cut)], axis, 0)
        first, second = slab[:-1], slab[1:]
        level = np.median(slab)
        if np.count_nonzero(slab > level) < _MIN_PAIRS:  # more than half holds the highest value
            level = np.nextafter(level, np.float32(-np.inf))
        bright = first > level
        both = bright & (second > level)
        if (count := int(np.count_nonzero(bright))) < _MIN_PAIRS:
            continue
        a, b = first[both].astype(np.float64), second[both].astype(np.float64)
        paired.append(len(a) / count)
        tissue = a != background
        equal.append(float(np.mean(a[tissue] == b[tissue])) if tissue.any() else 0.0)
        if len(a) < _MIN_PAIRS or a.std() == 0 or b.std() == 0:
            continue
        top = np.percentile(a, 99)  # a hot voxel must not decide
        correlations.append(float(np.corrcoef(np.minimum(a, top), np.minimum(b, top))[0, 1]))
    return Alike(max(correlations, default=1.0), max(paired, default=1.0), min(equal, default=0.0))


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
