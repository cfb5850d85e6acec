"""What was released, as one ε: the composition of all events of a cohort.

The ε that is stated is that of privacy loss distributions (PLD), computed by Google's dp-accounting.
Two others stand beside it: Rényi accounting, which is simpler and never lower, and Opacus's numerical
composition of privacy loss variables (PRV), which is an upper bound computed in another way.

Sources: Koskela et al. 2020, "Computing tight differential privacy guarantees using FFT",
https://arxiv.org/abs/1906.03049; Doroshenko et al. 2022, "Connect the dots",
https://arxiv.org/abs/2207.04380; Mironov et al. 2019, "Rényi differential privacy of the sampled
Gaussian mechanism", https://arxiv.org/abs/1908.10530; Gopi et al. 2021, "Numerical composition of
differential privacy", https://arxiv.org/abs/2106.02848.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from braing3n.errors import ConfigError
from braing3n.privacy.events import Event
from braing3n.privacy_plan import MAX_NOISE, MIN_DELTA

# Below it sums of 10⁵ probabilities by Fourier transform are no longer surely too large.
DISCRETISATION = 1e-3
# Beyond these ε is told as infinite. A step with less noise alone loses 50 where a subject is drawn;
# losses of 700 are beyond the exponents of a float; and for 10⁷ steps dp-accounting computes a power
# of as many digits, for a minute. They also keep a plan from making a site compute on arrays that it
# has no memory for.
MIN_NOISE_MULTIPLIER = 0.1
_MAX_DIVERGENCE = 700.0
_MAX_STEPS = 10**6
# Opacus's own orders end at 63, which gives far too much for a small ε; above 1,000 its binomials
# overflow. Between whole numbers they cost a second with much noise, and gain nothing there.
_ORDERS = (*map(float, range(2, 65)), 80.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0, 768.0, 1000.0)
_ORDERS_BETWEEN = tuple(1 + tenth / 10 for tenth in range(1, 100) if tenth % 10)
_BETWEEN_UP_TO = 5.0
_MAX_PRV_POINTS = 10**6


@dataclass(frozen=True)
class Spent:
    """The ε that events cost together; one patient added or removed, with all volumes and visits.

    Attributes:
        pld: By privacy loss distributions, an upper bound: the number that is stated. Infinite where
            there is no number; callers take that for over any budget.
        rdp: By Rényi accounting.
        prv: By Opacus's PRV accountant, an upper bound; None where it fails, is not finite, or would
            need more memory than the answer is worth.
        delta: δ of all three.
    """

    pld: float
    rdp: float
    prv: float | None
    delta: float


class Part(NamedTuple):
    """Equal steps, and how many: all that composition looks at."""

    sample_rate: float
    noise_multiplier: float
    steps: int


Parts = tuple[Part, ...]


def epsilon(events: Iterable[Event], delta: float) -> float:
    """Return the ε that events cost together, by privacy loss distributions; see `Spent.pld`.

    Raises:
        ConfigError: δ is out of range.
    """
    _check_range(delta)
    return _pld(merged(events), delta)


def spent(events: Iterable[Event], delta: float) -> Spent:
    """Return what events cost together, by three accountants.

    Takes up to seconds, where `epsilon` takes a tenth of one: PRV is slow for many steps.

    Raises:
        ConfigError: δ is out of range.
    """
    _check_range(delta)
    parts = merged(events)
    stated = _pld(parts, delta)
    if not parts or math.isinf(stated):
        return Spent(stated, stated, None if parts else 0.0, delta)
    return Spent(stated, _rdp(parts, delta), _prv(parts, delta, stated), delta)


def check_delta(delta: float, num_subjects: int) -> None:
    """Check that δ promises every subject something.

    With δ above 1/n, giving away one random subject's scans whole would be (0, δ)-DP.

    Args:
        delta: δ.
        num_subjects: n, the subjects of the cohort.

    Raises:
        ConfigError: δ is above 1/n, or out of range.
    """
    _check_range(delta)
    if delta * num_subjects > 1:
        raise ConfigError("δ promises nothing to a cohort of this size",
                          expected=f"at most 1 over the number of subjects, {1 / num_subjects:.3g}",
                          found=f"{delta:g} with {num_subjects} subjects",
                          fix="lower `delta` of the site's budget; 1e-5 holds up to 100,000 subjects")


def merged(events: Iterable[Event]) -> Parts:
    """Return the distinct (q, σ) with the steps of each, sorted; a `gaussian` has q = 1."""
    steps: Counter[tuple[float, float]] = Counter()
    for event in events:
        rate = 1.0 if event.mechanism == "gaussian" else event.sample_rate
        steps[rate, min(event.noise_multiplier, MAX_NOISE)] += event.steps
    return tuple(Part(*pair, count) for pair, count in sorted(steps.items()))


def discretisation(parts: Parts) -> float:
    """Return the grid's step for privacy losses: 1e-3, or finer where steps lose less than that.

    Losses are rounded to the grid so that ε comes out too high. That adds up to a quarter of the
    grid's step squared to the variance of the loss of every step of training. It is kept below 3 % of
    the whole, so that ε comes out about 1 % too high at most. At 1e-3 alone, 1,000 steps with q = 0.01
    and σ = 50 would cost 0.035 instead of 0.016.
    """
    total = sum(part.steps for part in parts)
    if total == 0:
        return DISCRETISATION
    variance = sum(part.steps * _chi_square(part) for part in parts) / total
    step = DISCRETISATION
    while step**2 > 0.1 * variance and step > 1e-5:
        step /= 10
    return step


def _check_range(delta: float) -> None:
    if not MIN_DELTA <= delta < 1:
        raise ConfigError("δ is out of the range that can be computed", found=f"{delta:g}",
                          expected=f"at least {MIN_DELTA:g} and below 1", fix="choose another δ")


def _chi_square(part: Part) -> float:
    """Return χ² of one step, which is about the variance of its privacy loss."""
    if part.noise_multiplier < MIN_NOISE_MULTIPLIER:
        return math.inf
    return part.sample_rate**2 * math.expm1((1 / part.noise_multiplier)**2)


def _is_beyond(parts: Parts) -> bool:
    """Return whether ε is taken for infinite without computing it.

    The mean loss of a step is the Kullback-Leibler divergence of the mixture from the Gaussian: at
    most q/(2σ²), as it is convex, and at most ln(1 + χ²).
    """
    if (any(part.noise_multiplier < MIN_NOISE_MULTIPLIER for part in parts)
            or sum(part.steps for part in parts) > _MAX_STEPS):
        return True
    mean = sum(part.steps * min(part.sample_rate / 2 * (1 / part.noise_multiplier)**2,
                                math.log1p(_chi_square(part))) for part in parts)
    return mean > _MAX_DIVERGENCE


@lru_cache(maxsize=256)
def _pld(parts: Parts, delta: float) -> float:
    """Return ε by privacy loss distributions; a site asks again and again for nearly the same."""
    if not parts:
        return 0.0
    if _is_beyond(parts):
        return math.inf
    step = discretisation(parts)
    whole, *others = (_composed(part, step) for part in parts)
    for other in others:
        whole = whole.compose(other)
    with np.errstate(over="ignore"):  # beyond the exponents of a float: infinite, as it should be
        found = float(whole.get_epsilon_for_delta(delta))
    return math.inf if math.isnan(found) else found


@lru_cache(maxsize=64)
def _composed(part: Part, step: float) -> Any:
    """Return the distribution of the privacy loss of equal steps, one subject added or removed."""
    sample_rate, noise_multiplier, steps = part
    if sample_rate == 1:  # n Gaussians are one with σ/√n, exactly
        return _single(1.0, noise_multiplier / math.sqrt(steps), step)
    return _single(sample_rate, noise_multiplier, step).self_compose(steps)


@lru_cache(maxsize=64)
def _single(sample_rate: float, noise_multiplier: float, step: float) -> Any:
    # Importing it takes a second, which whoever only starts a program need not wait for.
    from dp_accounting.pld import privacy_loss_distribution  # noqa: PLC0415
    from dp_accounting.privacy_accountant import NeighboringRelation  # noqa: PLC0415

    return privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier, sampling_prob=sample_rate, value_discretization_interval=step,
        pessimistic_estimate=True, neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)


def _rdp(parts: Parts, delta: float) -> float:
    """Return ε by Rényi accounting, with Opacus's formulas but none of its keeping of histories."""
    from opacus.accountants.analysis import rdp  # noqa: PLC0415  # imports torch and more, 2 s

    orders = _orders(parts)
    total = sum(part.steps * _rdp_curve(part.sample_rate, part.noise_multiplier, orders)
                for part in parts)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimal order is the")  # the bound holds at every order
        found, _ = rdp.get_privacy_spent(orders=list(orders), rdp=total, delta=delta)
    return math.inf if math.isnan(found) else max(0.0, float(found))


def _orders(parts: Parts) -> tuple[float, ...]:
    is_small = min(part.noise_multiplier for part in parts) <= _BETWEEN_UP_TO
    return (*_ORDERS_BETWEEN, *_ORDERS) if is_small else _ORDERS


@lru_cache(maxsize=64)
def _rdp_curve(
    sample_rate: float, noise_multiplier: float, orders: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    """Return one step's Rényi divergence at each order; rounding may not make it negative."""
    from opacus.accountants.analysis import rdp  # noqa: PLC0415

    curve = rdp.compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1,
                            orders=list(orders))
    return np.maximum(0.0, np.asarray(curve, dtype=np.float64))


@lru_cache(maxsize=64)
def _prv(parts: Parts, delta: float, about: float) -> float | None:
    """Return ε by Opacus's PRV accountant, or None; it is to be within half a percent or 0.01.

    It allocates what it computes to need, without a limit; so that is computed here before.
    """
    from opacus.accountants.prv import PRVAccountant  # noqa: PLC0415

    error = min(0.5, max(0.01, about / 200))
    delta_error = delta / 1000
    total = sum(part.steps for part in parts)
    mesh = error / math.sqrt(total * math.log(12 / delta_error) / 2)
    if 2 * (_rdp(parts, delta_error / 4) + 3) / mesh > _MAX_PRV_POINTS:
        return None
    accountant = PRVAccountant()
    accountant.history = [(part.noise_multiplier, part.sample_rate, part.steps) for part in parts]
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of integrals that converge slowly; the result is checked
            found = float(accountant.get_epsilon(delta, eps_error=error, delta_error=delta_error))
    except (RuntimeError, ValueError, ArithmeticError, IndexError):
        return None
    return max(0.0, found) if math.isfinite(found) else None
