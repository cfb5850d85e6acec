"""Mean and variance of latents over the volumes of all sites."""

from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-8  # keeps a channel that never varies finite


@dataclass(frozen=True)
class LatentStatistics:
    """What latents are normalised by before the diffusion transformer sees them.

    The mean is taken at every place of the grid, so that latents of zero are the mean brain and the
    transformer learns only how brains differ. The variance is one number a channel: dividing by
    a place's own would blow up the background, where nothing varies.

    Attributes:
        mean: (C, gx, gy, gz).
        variance: (C,) around that mean, not negative.
    """

    mean: Tensor
    variance: Tensor

    @classmethod
    def from_moments(cls, mean: Tensor, mean_square: Tensor) -> "LatentStatistics":
        """Return the statistics of latents of which only two moments are known.

        Args:
            mean: (C, gx, gy, gz) mean over volumes.
            mean_square: (C, gx, gy, gz) mean of the squares over the same volumes.

        Returns:
            Statistics in float32, computed in float64.
        """
        spread = mean_square.double() - mean.double().square()             # (C, gx, gy, gz)
        return cls(mean.float(), spread.mean(dim=(1, 2, 3)).clamp_min(0.0).float())

    def normalise(self, latent: Tensor) -> Tensor:
        """Return latents (B, C, x, y, z) with mean 0 everywhere and variance 1 in every channel."""
        return (latent - self.mean) / self._deviation()

    def restore(self, latent: Tensor) -> Tensor:
        """Undo `normalise`: (B, C, x, y, z) -> (B, C, x, y, z)."""
        return latent * self._deviation() + self.mean

    def _deviation(self) -> Tensor:
        return torch.sqrt(self.variance + _TINY).view(-1, 1, 1, 1)         # (C, 1, 1, 1)
