"""What leaves once beside updates: sums over subjects by the Gaussian mechanism."""

from collections.abc import Iterable, Mapping
from math import sqrt

import torch
from torch import Tensor

from braing3n.privacy.noise import SecureRandom

# What each metric is clipped to before it is noised: fixed numbers, of no site's data. Only metrics
# that no other subject has a part in are here.
METRIC_RANGES: Mapping[str, tuple[float, float]] = {
    "loss": (0.0, 2.0), "trivial_loss": (0.0, 2.0), "psnr": (0.0, 40.0), "ssim": (0.0, 1.0),
}
_MARGIN = 1e-6  # a float32 norm must not be above its bound by rounding


def gaussian_sum(vectors: Iterable[Tensor], num_coordinates: int, noise_multiplier: float,
                 randomness: SecureRandom) -> Tensor:
    """Return the noised sum of one vector a subject, each clipped to L2 norm 1.

    A vector with a number that is not finite adds nothing.

    Source: Dwork and Roth 2014, appendix A, https://doi.org/10.1561/0400000042

    Args:
        vectors: (d,) each, one a subject.
        num_coordinates: d, also where there is no subject.
        noise_multiplier: Deviation of the noise in every coordinate.
        randomness: Source of the noise.

    Returns:
        (d,) float64.
    """
    total = torch.zeros(num_coordinates, dtype=torch.float64)
    for vector in vectors:
        wide = vector.detach().double().cpu()
        norm = float(wide.norm())
        if torch.isfinite(wide).all():
            total += wide * min(1.0, (1 - _MARGIN) / max(norm, 1e-300))
    return total + noise_multiplier * torch.from_numpy(randomness.gaussians(num_coordinates))


def noised_count(count: int, noise_multiplier: float, randomness: SecureRandom) -> int:
    """Return a number of subjects with noise, at least 1."""
    noised = gaussian_sum((torch.ones(1) for _ in range(count)), 1, noise_multiplier, randomness)
    return max(1, round(float(noised)))


def noised_metrics(
    by_subject: Iterable[Mapping[str, float]], names: Iterable[str], noise_multiplier: float,
    randomness: SecureRandom,
) -> dict[str, float]:
    """Return means of metrics over subjects, by noised sums and a noised count of them.

    Args:
        by_subject: Each subject's metrics.
        names: Which; all in `METRIC_RANGES`, the same for every subject.
        noise_multiplier: σ of the one Gaussian that covers all of them.
        randomness: Source of the noise.
    """
    wanted = sorted(set(names) & METRIC_RANGES.keys())
    scale = 1 / sqrt(len(wanted) + 1)

    def vector(metrics: Mapping[str, float]) -> Tensor:
        shares = [(metrics[name] - low) / (high - low) for name in wanted
                  for low, high in [METRIC_RANGES[name]]]
        return torch.tensor([1.0, *shares]).clamp(0.0, 1.0) * scale

    sums = gaussian_sum(map(vector, by_subject), len(wanted) + 1, noise_multiplier, randomness) / scale
    count = max(float(sums[0]), 1.0)
    return {name: low + (high - low) * min(max(float(total) / count, 0.0), 1.0)
            for name, total in zip(wanted, sums[1:], strict=True)
            for low, high in [METRIC_RANGES[name]]}


def noised_moments(
    by_subject: Iterable[tuple[Tensor, Tensor]], num_channels: int, bound: float,
    noise_multiplier: float, num_subjects: int, randomness: SecureRandom,
) -> tuple[Tensor, float]:
    """Return channel means and one variance of latents, from noised sums over subjects.

    One mean at every place, as without DP, would need noise far above what it is of. One variance
    serves all channels, as latents come divided by what their projection's weights alone make of
    tokens without a pattern, which is public.

    Args:
        by_subject: Each subject's channel means (C,) and root mean square () over its volumes.
        num_channels: C.
        bound: What a root mean square is clipped to; means to a quarter of it in every channel.
        noise_multiplier: σ of the one Gaussian that covers both.
        num_subjects: The public number that sums are divided by.
        randomness: Source of the noise.

    Returns:
        Means (C,) and the variance around them, float64; the variance is at least 0.01.
    """
    mean_bound = bound * sqrt(num_channels) / 4

    def vector(moments: tuple[Tensor, Tensor]) -> Tensor:
        mean, rms = moments
        mean = mean / max(float(mean.norm()) / mean_bound, 1.0) / mean_bound
        return torch.cat([mean, (rms / bound).clamp(max=1.0).reshape(1)]) / sqrt(2)

    sums = gaussian_sum(map(vector, by_subject), num_channels + 1, noise_multiplier, randomness)
    means = sums[:-1] * sqrt(2) * mean_bound / num_subjects                # (C,)
    rms = float(sums[-1]) * sqrt(2) * bound / num_subjects
    return means, max(rms**2 - float(means.square().mean()), 0.01)
