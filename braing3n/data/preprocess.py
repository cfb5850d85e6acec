"""From a scan as it is stored to the volume that the networks take.

The scans are expected to be skull-stripped. The paper's pipeline registers to an atlas; sites
here need not, so the volume is centred on the brain's own bounding box (our choice).
"""

import math
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import (
    CropForeground,
    NormalizeIntensity,
    Orientation,
    ResizeWithPadOrCrop,
    Spacing,
)
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from braing3n.data import scan as scan_module
from braing3n.data.scan import Scan
from braing3n.errors import ScanError
from braing3n.files import canonical_json, digest_bytes
from braing3n.presets import Preset

# Raise it whenever the same scan would give other voxels.
VERSION = 1

_ORIENTATION = "LPS"
_CLIP = 5.0
_SMOOTH_ABOVE = 1.5
# A Gaussian's full width at half maximum over its standard deviation.
_FWHM = math.sqrt(8 * math.log(2))


def describe(preset: Preset) -> dict[str, Any]:
    """Return everything that the voxels depend on besides the scan."""
    return {
        "version": VERSION,
        "scan_version": scan_module.VERSION,
        "orientation": _ORIENTATION,
        "voxel_mm": preset.voxel_mm,
        "shape": list(preset.shape),
        "interpolation": "bilinear, over the brain only",
        "smooth_above": _SMOOTH_ABOVE,
        "centre": "bounding box",
        "clip": _CLIP,
        "dtype": "float16",
    }


def preprocessing_digest(preset: Preset) -> str:
    """Return the digest of `describe`."""
    return digest_bytes(canonical_json(describe(preset)))


def preprocess(scan: Scan, preset: Preset) -> NDArray[np.float16]:
    """Reorient, resample, centre and normalise a scan.

    Background, here the value that most of the scan's six faces share, ends as exactly 0. Brain
    and background are never mixed: intensities are interpolated over the brain alone.

    Returns:
        `preset.shape` (X to the left, Y to the back, Z upwards): z-scores over the brain, clipped
        to ±5. The same scan stored in another orientation gives the same voxels; the same bits
        need the same number of torch threads.

    Raises:
        ScanError: Nothing is left of the scan at this voxel size.
    """
    voxels = torch.from_numpy(scan.voxels) - _background(scan.voxels)  # (X, Y, Z)
    brain = (voxels != 0).to(torch.float32)
    image = MetaTensor(torch.stack([voxels, brain]), affine=torch.from_numpy(scan.affine))
    image = Orientation(axcodes=_ORIENTATION, labels=None)(image)      # (2, X, Y, Z)
    sizes = np.linalg.norm(image.affine[:3, :3].numpy(), axis=0)       # (3,) mm
    image = _crop(image, margin=[math.ceil(preset.voxel_mm / size) for size in sizes])
    image = _resample(image, sizes, preset.voxel_mm)
    values = _over_brain(image)                                        # (2, x, y, z)
    if not _has_contrast(values):
        raise ScanError(f"{scan.path} has no brain in it",
                        expected=f"a brain that {preset.voxel_mm:g} mm voxels can show",
                        found="nothing, or one value, beside the background",
                        fix="look at the scan: it may be a mask")
    values = ResizeWithPadOrCrop(preset.shape)(_crop(values, margin=[0, 0, 0]))
    scores = NormalizeIntensity(nonzero=True)(values[:1])[0]           # preset.shape
    scores = torch.where(values[1] > 0, scores.clamp(-_CLIP, _CLIP), 0.0)
    return np.ascontiguousarray(scores.numpy(), dtype=np.float16)


def _background(voxels: NDArray[np.float32]) -> float:
    """Return the value outside the brain: what most face voxels share, or else 0.

    It is 0 in most stripped scans, but not when the header has an intercept.
    """
    faces = np.concatenate([np.take(voxels, side, axis).ravel()
                            for axis in range(3) for side in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()]) if counts.max() > faces.size / 2 else 0.0


def _crop(image: Any, margin: list[int]) -> Any:
    """Crop (2, X, Y, Z) to the box around the brain (channel 1), with background as margin."""
    return CropForeground(select_fn=lambda brain: brain > 0, channel_indices=1, margin=margin,
                          allow_smaller=False)(image)


def _resample(image: Any, sizes: NDArray[np.float64], voxel_mm: float) -> MetaTensor:
    """Return (2, x, y, z) on cubic voxels, smoothed first where that leaves out detail.

    The blur makes the old voxel's width the new one's (Cardoso et al. 2015, "Scale factor point
    spread function matching", https://doi.org/10.1007/978-3-319-24571-3_81).
    """
    # Only voxel sizes matter from here. Rounding keeps the last bits of a position or a rotation,
    # which differ between copies stored in different orientations, out of the grid.
    sizes = sizes.round(4)
    factors = voxel_mm / sizes
    sigma = [math.sqrt(factor**2 - 1) / _FWHM if factor > _SMOOTH_ABOVE else 0.0
             for factor in factors]
    smooth = gaussian_filter(image.numpy(), (0.0, *sigma), mode="constant")
    plain = MetaTensor(torch.from_numpy(smooth), affine=torch.diag(torch.tensor([*sizes, 1.0])))
    spacing = Spacing([voxel_mm] * 3, mode="bilinear", padding_mode="zeros", dtype=torch.float32)
    return spacing(plain)


def _has_contrast(values: Tensor) -> bool:
    """Tell whether the brain's intensities differ by more than rounding does."""
    brain = values[0][values[1] > 0]
    return brain.numel() > 0 and bool(brain.max() - brain.min() > 1e-5 * brain.abs().max())


def _over_brain(image: Tensor) -> Tensor:
    """Turn resampled (intensity times brain, brain) into (mean intensity of the brain, 0 or 1).

    Dividing by the brain's share removes the dark rim that interpolation with background leaves.
    """
    inside = image[1] >= 0.5
    values = torch.where(inside, image[0] / image[1].clamp(min=0.5), 0.0)
    return torch.stack([values, inside.to(torch.float32)])
