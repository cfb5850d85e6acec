"""Smoothed and reduced volumes: the features that a network has to beat."""

import torch.nn.functional as F
from monai.networks.layers import GaussianFilter
from torch import Tensor

# So few that their scatter, which grows with the square, is exchanged as easily as a network's.
THUMBNAIL_SHAPE = (8, 10, 8)


def thumbnails(volumes: Tensor) -> Tensor:
    """Return smoothed and reduced volumes.

    Args:
        volumes: (n, 1, X, Y, Z) z-scored volumes on a model's grid, which is never smaller
            than a thumbnail.

    Returns:
        (n, 8 · 10 · 8) intensities.
    """
    # Half of the reduction is the usual width against aliasing.
    sigma = [size / small / 2 for size, small in zip(volumes.shape[2:], THUMBNAIL_SHAPE,
                                                     strict=True)]
    smoothed = GaussianFilter(spatial_dims=3, sigma=sigma)(volumes)         # (n, 1, X, Y, Z)
    small = F.interpolate(smoothed, size=THUMBNAIL_SHAPE, mode="trilinear",
                          align_corners=False)                              # (n, 1, 8, 10, 8)
    return small.flatten(1)                                                 # (n, 640)
