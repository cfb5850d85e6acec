"""How near a reconstruction is to its original, inside the brain: PSNR and SSIM.

Volumes are z-scored and clipped to ±5 standard deviations, so the range of the data is fixed
at 10 and figures of different volumes, sites and runs can be compared. Background is 0 and takes
no part: it would flatter every method, as most of the box is background.
"""

import torch
from monai.networks.layers import gaussian_1d, separable_filtering
from torch import Tensor

DATA_RANGE = 10.0

# The window and the constants of Wang et al. (2004), in three dimensions.
_WINDOW_RADIUS = 5
_WINDOW_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def brain_mask(original: Tensor) -> Tensor:
    """Return where there is brain: the voxels that are not background.

    Args:
        original: (B, 1, X, Y, Z) z-scored volumes with background 0.

    Returns:
        (B, 1, X, Y, Z) booleans.

    Raises:
        ValueError: The shape is another, or a volume has no brain at all.
    """
    if original.ndim != 5 or original.shape[1] != 1:
        raise ValueError(f"volumes have shape (B, 1, X, Y, Z), not {tuple(original.shape)}")
    mask = original != 0  # (B, 1, X, Y, Z)
    if not mask.flatten(1).any(1).all():
        raise ValueError("a volume without any brain voxel cannot be scored")
    return mask


def psnr(original: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio inside the brain, 10 · log10(range² / MSE).

    Args:
        original: (B, 1, X, Y, Z) z-scored volumes with background 0.
        reconstruction: (B, 1, X, Y, Z) what is compared with them.

    Returns:
        (B,) decibels; infinite where the two are equal.

    Raises:
        ValueError: The shapes differ, or a volume has no brain.
    """
    _check_same_shape(original, reconstruction)
    squared = (original - reconstruction).square()          # (B, 1, X, Y, Z)
    error = _mean_inside(squared, brain_mask(original))     # (B,)
    return 10 * torch.log10(DATA_RANGE**2 / error)          # (B,)


def mean_volume_psnr(original: Tensor, mean_volume: Tensor) -> Tensor:
    """Return the PSNR of predicting the same mean volume for everyone: the bar to clear.

    Args:
        original: (B, 1, X, Y, Z) z-scored volumes with background 0.
        mean_volume: (X, Y, Z) mean of training volumes, never of those that are scored.

    Returns:
        (B,) decibels.

    Raises:
        ValueError: The shapes do not fit, or a volume has no brain.
    """
    if original.shape[2:] != mean_volume.shape:
        raise ValueError(f"the mean volume has shape {tuple(mean_volume.shape)}, "
                         f"the volumes {tuple(original.shape)}")
    return psnr(original, mean_volume.expand_as(original))


def ssim(original: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the structural similarity, averaged over windows centred in the brain.

    Wang, Bovik, Sheikh, Simoncelli (2004), equation 13 with their Gaussian window (11 voxels,
    σ 1.5), in 3-D: https://doi.org/10.1109/TIP.2003.819861. The reconstruction is set to
    background outside the brain, so that windows at the brain's edge judge the brain only.

    Args:
        original: (B, 1, X, Y, Z) z-scored volumes with background 0.
        reconstruction: (B, 1, X, Y, Z) what is compared with them.

    Returns:
        (B,) from -1 to 1; 1 where the two are equal.

    Raises:
        ValueError: The shapes differ, or a volume has no brain.
    """
    _check_same_shape(original, reconstruction)
    mask = brain_mask(original)                             # (B, 1, X, Y, Z)
    x, y = original, reconstruction * mask                  # (B, 1, X, Y, Z)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = _window_mean(x * x) - mean_x * mean_x
    var_y = _window_mean(y * y) - mean_y * mean_y
    covariance = _window_mean(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * DATA_RANGE) ** 2, (_K2 * DATA_RANGE) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)
                  / ((mean_x.square() + mean_y.square() + c1) * (var_x + var_y + c2)))
    return _mean_inside(similarity, mask)                   # (B,)


def _check_same_shape(original: Tensor, reconstruction: Tensor) -> None:
    if original.shape != reconstruction.shape:
        raise ValueError(f"the reconstruction has shape {tuple(reconstruction.shape)}, "
                         f"the original {tuple(original.shape)}")


def _mean_inside(values: Tensor, mask: Tensor) -> Tensor:
    """Return (B,) means of (B, 1, X, Y, Z) `values` where `mask` is true."""
    return (values * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


def _window_mean(values: Tensor) -> Tensor:
    """Return the Gaussian-weighted mean around every voxel; outside the box is background."""
    kernel = gaussian_1d(torch.tensor(_WINDOW_SIGMA), truncated=_WINDOW_RADIUS / _WINDOW_SIGMA,
                         approx="sampled", normalize=True)  # (11,)
    smoothed: Tensor = separable_filtering(values, [kernel.to(values)] * 3, mode="zeros")
    return smoothed                                         # (B, 1, X, Y, Z)
