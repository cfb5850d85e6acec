"""From a scan as it is stored to the volume that the networks take.

The chain of tools that a site has chosen (`braing3n.data.tools.chain`) comes first; it leaves a brain
and nothing around it. The paper's pipeline registers to an atlas; sites here need not, so the
volume is centred on the brain's own bounding box (our choice).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_array

from braing3n.data import scan as scan_module
from braing3n.data.axes import sizes_mm
from braing3n.data.canonical import AXES, canonical
from braing3n.data.scan import Scan
from braing3n.data.tools.chain import PLAIN, Chain
from braing3n.errors import ScanError
from braing3n.files import canonical_json, digest_bytes
from braing3n.presets import Preset

# Raise it whenever the same scan would give other voxels.
VERSION = 2

_CLIP = 5.0
_SMOOTH_ABOVE = 1.5
# A Gaussian's full width at half maximum over its standard deviation.
_FWHM = math.sqrt(8 * math.log(2))

Voxels = NDArray[np.float32]


def describe(preset: Preset, chain: Chain = PLAIN) -> dict[str, Any]:
    """Return everything that the voxels depend on besides the scan."""
    return {
        "version": VERSION,
        "scan_version": scan_module.VERSION,
        "orientation": AXES,
        "chain": chain.describe(),
        "voxel_mm": preset.voxel_mm,
        "shape": list(preset.shape),
        "interpolation": "linear, over the brain only",
        "smooth_above": _SMOOTH_ABOVE,
        "centre": "bounding box",
        "clip": _CLIP,
        "dtype": "float16",
    }


def preprocessing_digest(preset: Preset, chain: Chain = PLAIN) -> str:
    """Return the digest of `describe`."""
    return digest_bytes(canonical_json(describe(preset, chain)))


def preprocess(scan: Scan, preset: Preset, chain: Chain = PLAIN) -> NDArray[np.float16]:
    """Reorient a scan, apply the chain's tools, then resample, centre and normalise the brain.

    Background ends as exactly 0. Brain and background are never mixed: intensities are
    interpolated over the brain alone.

    Returns:
        `preset.shape` (X to the left, Y to the back, Z upwards): z-scores over the brain, clipped
        to ±5. The same scan gives the same bits, however it is stored and whatever the number of
        threads; a chain's tools have rules of their own.

    Raises:
        ScanError: The chain refuses the scan, or nothing is left of it at this voxel size.
    """
    scan = chain.apply(canonical(scan))
    # Rounding keeps the last bits of a position or a rotation, which differ between copies stored
    # in different orientations, out of the grid.
    sizes = sizes_mm(scan.affine).round(4)
    values = _resample_over_brain(_boxed(scan.voxels), sizes, preset.voxel_mm)  # NaN outside
    if not _has_contrast(values):
        raise ScanError(f"{scan.path} has no brain in it",
                        expected=f"a brain that {preset.voxel_mm:g} mm voxels can show",
                        found="nothing, or one value, beside the background",
                        fix="look at the scan: it may be a mask")
    centred = _centred(_boxed(values, ~np.isnan(values)), preset.shape)         # preset.shape
    brain = centred[~np.isnan(centred)].astype(np.float64)
    scores = ((centred - brain.mean()) / brain.std()).clip(-_CLIP, _CLIP)
    return np.where(np.isnan(centred), 0.0, scores).astype(np.float16)


def _boxed(voxels: Voxels, inside: NDArray[np.bool_] | None = None) -> Voxels:
    """Return a view of the narrowest box around `inside`, or else around what is not 0."""
    marked = voxels if inside is None else inside
    found = [np.flatnonzero(marked.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return voxels[tuple(slice(places[0], places[-1] + 1) if len(places) else slice(0)
                        for places in found)]


def _resample_over_brain(brain: Voxels, sizes: NDArray[np.float64], voxel_mm: float) -> Voxels:
    """Return (x, y, z) on cubic voxels: the brain's mean intensity, NaN where there is no brain.

    Dividing by the brain's share removes the dark rim that interpolation with background leaves.
    """
    if brain.size == 0:
        return brain
    weights = [_weights(num, size, voxel_mm) for num, size in zip(brain.shape, sizes, strict=True)]
    share = _apply(weights, (brain != 0).astype(np.float32))           # (x, y, z)
    values = _apply(weights, np.ascontiguousarray(brain))
    with np.errstate(invalid="ignore", divide="ignore"):
        over_brain: Voxels = np.where(share >= 0.5, values / share, np.float32(np.nan))
    return over_brain


def _weights(num: int, size_mm: float, voxel_mm: float) -> csr_array:
    """Return the (new voxels, `num`) matrix that resamples one axis, with background around it.

    Linear interpolation; where it would leave out detail, of what a Gaussian has smoothed. That
    makes the old voxel's width the new one's (Cardoso et al. 2015, "Scale factor point spread
    function matching", https://doi.org/10.1007/978-3-319-24571-3_81).
    """
    factor = voxel_mm / size_mm
    margin = math.ceil(factor)
    padded = num + 2 * margin
    places = np.arange(round((padded - 1) / factor + 1)) * factor      # in old voxels
    weights = (1 - np.abs(places[:, None] - np.arange(padded))).clip(min=0)
    if factor > _SMOOTH_ABOVE:
        # Weights of the smoothed voxels, smoothed, are weights of the voxels: the kernel is even.
        weights = gaussian_filter1d(weights, math.sqrt(factor**2 - 1) / _FWHM, mode="constant")
    return csr_array(weights[:, margin:-margin].astype(np.float32))


def _apply(weights: list[csr_array], voxels: Voxels) -> Voxels:
    """Resample (X, Y, Z) along each axis in turn."""
    for matrix in weights:
        flat = matrix @ voxels.reshape(len(voxels), -1)                # (x, Y Z)
        # The axis that is done goes last; after three turns all are back in their places.
        voxels = np.moveaxis(flat.reshape(-1, *voxels.shape[1:]), 0, -1)
    return voxels


def _has_contrast(values: Voxels) -> bool:
    """Tell whether the brain's intensities differ by more than rounding does."""
    brain = values[~np.isnan(values)]
    return brain.size > 0 and bool(np.ptp(brain) > 1e-5 * np.abs(brain).max())


def _centred(values: Voxels, shape: tuple[int, int, int]) -> Voxels:
    """Return `values` in the middle of `shape`, cut where larger, with NaN around."""
    cut = [max(part // 2 - size // 2, 0) for part, size in zip(values.shape, shape, strict=True)]
    values = values[tuple(slice(c, c + size) for c, size in zip(cut, shape, strict=True))]
    before = [(size - part) // 2 for part, size in zip(values.shape, shape, strict=True)]
    after = [size - part - b for part, size, b in zip(values.shape, shape, before, strict=True)]
    return np.pad(values, list(zip(before, after, strict=True)), constant_values=np.nan)
