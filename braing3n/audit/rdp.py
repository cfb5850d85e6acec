"""A second accountant: Rényi differential privacy of what a ledger lists, in one file.

It shares no code with the site's accountant, nor with the packages that that one uses: a mistake
would have to be made twice to pass. It reads from top to bottom with the papers beside it:

- Mironov 2017, "Rényi differential privacy", https://arxiv.org/abs/1702.07476: the definition,
  composition by adding up (proposition 1), and the Gaussian's α / (2σ²) (corollary 3).
- Mironov, Talwar, Zhang 2019, "Rényi differential privacy of the sampled Gaussian mechanism",
  https://arxiv.org/abs/1908.10530: theorem 4 says which of the two divergences is the larger one,
  section 3.3 has the sum for whole orders.
- Canonne, Kamath, Steinke 2020, "The discrete Gaussian for differential privacy",
  https://arxiv.org/abs/2004.00010, proposition 12: from Rényi divergence to ε at δ.

Neighbouring data sets differ by one subject, added or removed.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp

Floats = npt.NDArray[np.float64]

# Whole orders cost nothing; those between matter where much was spent, and ε is high.
ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100) if tenth % 10), *map(float, range(2, 65)),
          80.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0, 768.0, 1000.0)

_POINTS = 20  # of the quadrature, to the width of what varies fastest
_WIDTHS = 14.0  # how far it goes on: exp(-14²/2) is below 1e-42


def epsilon(steps: Iterable[tuple[float, float, int]], delta: float,
            orders: tuple[float, ...] = ORDERS) -> float:
    """Return the ε at δ of everything together.

    >>> round(epsilon([(1.0, 2.0, 1)], 1e-5), 3)  # one Gaussian with σ = 2
    2.166

    Args:
        steps: (q, σ, how often) of each; q = 1 where everybody takes part.
        delta: δ, above 0 and below 1.
        orders: Rényi orders α, above 1. The bound holds at each; more of them find a lower one.

    Raises:
        ValueError: A number is out of its range.
    """
    if not 0 < delta < 1:
        raise ValueError(f"δ must be between 0 and 1, not {delta}")
    total = np.zeros(len(orders))
    any_steps = False
    for sample_rate, noise_multiplier, count in steps:
        if count < 0:
            raise ValueError(f"nothing can be done {count} times")
        any_steps = any_steps or count > 0
        total += count * np.array(divergences(sample_rate, noise_multiplier, orders))
    return to_epsilon(total, delta, orders) if any_steps else 0.0


@lru_cache(maxsize=4096)
def divergences(sample_rate: float, noise_multiplier: float,
                orders: tuple[float, ...] = ORDERS) -> tuple[float, ...]:
    """Return one step's Rényi divergence at each order.

    Raises:
        ValueError: q is not in (0, 1], or σ or an order out of range.
    """
    if not 0 < sample_rate <= 1:
        raise ValueError(f"the sample rate must be above 0 and at most 1, not {sample_rate}")
    if not 0 < noise_multiplier < math.inf:
        raise ValueError(f"the noise multiplier must be above 0, not {noise_multiplier}")
    if min(orders) <= 1:
        raise ValueError("orders must be above 1")
    if sample_rate == 1:
        return tuple(order / (2 * noise_multiplier**2) for order in orders)
    return tuple(
        max(0.0, (_log_moment_whole(int(order), sample_rate, noise_multiplier)
                  if order.is_integer()
                  else _log_moment(order, sample_rate, noise_multiplier)) / (order - 1))
        for order in map(float, orders))


def to_epsilon(total: Floats, delta: float, orders: tuple[float, ...] = ORDERS) -> float:
    """Return the lowest ε at δ that Rényi divergences of these orders allow."""
    alpha = np.array(orders)
    found = total + np.log1p(-1 / alpha) - (math.log(delta) + np.log(alpha)) / (alpha - 1)
    return max(0.0, float(found.min()))


def _log_moment_whole(order: int, q: float, sigma: float) -> float:
    """Return ln A(α) for a whole α: ln Σ_k (α over k) (1 − q)^(α − k) q^k exp(k (k − 1) / (2σ²))."""
    k = np.arange(order + 1)
    choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    return float(logsumexp(choose + (order - k) * math.log1p(-q) + k * math.log(q)
                           + k * (k - 1) / (2 * sigma**2)))


def _log_moment(order: float, q: float, sigma: float) -> float:
    """Return ln A(α) for any α: ln E[((1 − q) + q exp((2z − 1) / (2σ²)))^α] over z ~ N(0, σ²).

    By the trapezoidal rule on evenly spaced points, which for such integrands errs by less than
    exp(−2π a / h), with h the spacing and a the distance of the nearest singularity from the real
    line, πσ² here (Trefethen and Weideman 2014, https://doi.org/10.1137/130932132).
    """
    spacing = min(sigma, sigma**2) / _POINTS
    z = np.arange(-_WIDTHS * sigma, order + _WIDTHS * sigma, spacing)
    log_ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * z - 1) / (2 * sigma**2))
    log_density = -(z**2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))
    return float(logsumexp(order * log_ratio + log_density)) + math.log(spacing)
