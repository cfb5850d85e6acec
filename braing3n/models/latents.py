"""Mean and variance of each latent channel, over the volumes of all sites."""

from dataclasses import dataclass

from torch import Tensor

_TINY = 1e-8  # keeps a channel that never varies finite


@dataclass(frozen=True)
class LatentStatistics:
    """What latents are normalised by, so that the diffusion transformer sees unit variance.

    Attributes:
        mean: (C,).
        variance: (C,), not negative.
    """

    mean: Tensor
    variance: Tensor

    @classmethod
    def from_moments(cls, count: float, total: Tensor, squares: Tensor) -> "LatentStatistics":
        """Return the statistics of numbers of which only sums are known.

        Args:
            count: How many numbers per channel were summed; or 1, with means for sums.
            total: (C,) their sum.
            squares: (C,) the sum of their squares.

        Returns:
            Statistics in float32, computed in float64.

        Raises:
            ValueError: `count` is not positive.
        """
        if count <= 0:
            raise ValueError(f"latent statistics need at least one number, not {count}")
        mean = total.double() / count                                      # (C,)
        variance = (squares.double() / count - mean.square()).clamp_min(0.0)
        return cls(mean.float(), variance.float())

    def normalise(self, latent: Tensor) -> Tensor:
        """Return latents (B, C, x, y, z) with mean 0 and variance 1 in every channel."""
        return (latent - _per_channel(self.mean)) / self._deviation()

    def restore(self, latent: Tensor) -> Tensor:
        """Undo `normalise`: (B, C, x, y, z) -> (B, C, x, y, z)."""
        return latent * self._deviation() + _per_channel(self.mean)

    def _deviation(self) -> Tensor:
        return (_per_channel(self.variance) + _TINY).sqrt()                # (C, 1, 1, 1)


def _per_channel(values: Tensor) -> Tensor:
    """Return (C,) values as (C, 1, 1, 1), to go with (B, C, x, y, z)."""
    return values.view(-1, 1, 1, 1)
