"""Smoothed and reduced volumes: the features that a network has to beat."""

import torch
import torch.nn.functional as F
from monai.networks.layers import GaussianFilter
from torch import Tensor

# So few that their scatter, which grows with the square, is exchanged as easily as a network's.
THUMBNAIL_SHAPE = (8, 10, 8)


def thumbnails(volumes: Tensor) -> Tensor:
    """Return smoothed and reduced volumes, without their corners.

    A corner that one brain in a hundred touches would be a feature of almost no variance, which
    standardisation blows up: only places in the ellipsoid that the grid holds are taken.

    Args:
        volumes: (n, 1, X, Y, Z) z-scored volumes on a model's grid, which is never smaller
            than a thumbnail.

    Returns:
        (n, 344) intensities.
    """
    # Half of the reduction is the usual width against aliasing.
    sigma = [size / small / 2 for size, small in zip(volumes.shape[2:], THUMBNAIL_SHAPE,
                                                     strict=True)]
    smoothed = GaussianFilter(spatial_dims=3, sigma=sigma)(volumes)         # (n, 1, X, Y, Z)
    small = F.interpolate(smoothed, size=THUMBNAIL_SHAPE, mode="trilinear",
                          align_corners=False)                              # (n, 1, 8, 10, 8)
    return small[:, 0][:, inside()]                                         # (n, 344)


def inside() -> Tensor:
    """Return (8, 10, 8) whether a place of a thumbnail lies in the ellipsoid."""
    axes = [(torch.arange(size) + 0.5) / size * 2 - 1 for size in THUMBNAIL_SHAPE]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0) <= 1
