"""ε of a ledger's cohorts, rebuilt from the raw parameters that its entries list.

Two accountants: the Rényi one of `braing3n.audit.rdp`, which is ours and nobody else's, and Google's
dp-accounting, asked here from scratch. No code is shared with what sites compute their claims by.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from braing3n.audit import rdp
from braing3n.audit.findings import Finding
from braing3n.audit.ledger_line import Claimed, Mechanism
from braing3n.audit.ledger_rules import STAGES, Decision, Work

TOLERANCE = 1e-6
# Beyond these accountants need minutes or numbers that floats do not have: no number is told then.
_MIN_NOISE, _MAX_STEPS, _MAX_RDP = 0.1, 10**6, 700.0

Steps = tuple[tuple[float, float, int], ...]  # (q, σ, how often), each pair once


class Bounds(NamedTuple):
    """ε at one δ; None where no number can be told.

    Attributes:
        rdp: By Rényi accounting: an upper bound.
        pld: By privacy loss distributions: an upper bound, and never above `rdp`.
    """

    rdp: float | None
    pld: float | None


@dataclass(frozen=True)
class Share:
    """What a part of the work costs by itself: a stage, a run, a kind of release."""

    name: str
    num_entries: int
    steps: int
    bounds: Bounds


@dataclass(frozen=True)
class Recomputed:
    """A cohort's ε, rebuilt.

    Attributes:
        cohort: The site's name for its patients.
        delta: δ.
        claimed: What the site's last charge claims for all of it.
        bounds: For all of it.
        shares: By stage, by run, by release; each by itself, so that they add up to more.
        num_unsettled: Charges that count in full, as nobody knows what was done.
        is_void: Whether these patients were also trained on without differential privacy.
        is_understated: Whether the site claims less than its own list of work comes to.
    """

    cohort: str
    delta: float
    claimed: Claimed
    bounds: Bounds
    shares: dict[str, tuple[Share, ...]]
    num_unsettled: int
    is_void: bool
    is_understated: bool


def recompute(work: Iterable[Work], void_cohorts: Iterable[str], delta: float | None = None,
              ) -> list[Recomputed]:
    """Rebuild the ε of every cohort that something was charged for.

    Args:
        work: All that a ledger says was charged; of one site.
        void_cohorts: Those that were trained on without differential privacy as well.
        delta: δ; None takes what the site's last charge says.
    """
    by_cohort: dict[str, list[Work]] = {}
    for one in work:
        by_cohort.setdefault(str(one.line.cohort), []).append(one)
    voids = set(void_cohorts)
    return [_recomputed(cohort, own, cohort in voids, delta) for cohort, own in by_cohort.items()]


@lru_cache(maxsize=64)
def bounds(steps: Steps, delta: float) -> Bounds:
    """Return ε of steps together, by both accountants."""
    if not steps:
        return Bounds(0.0, 0.0)
    if min(sigma for _, sigma, _ in steps) < _MIN_NOISE:
        return Bounds(None, None)
    by_rdp = rdp.epsilon(steps, delta)
    if by_rdp > _MAX_RDP or sum(count for _, _, count in steps) > _MAX_STEPS:
        return Bounds(by_rdp if math.isfinite(by_rdp) else None, None)
    return Bounds(by_rdp, min(by_rdp, _pld(steps, delta, _grid(steps))))


def cost_more(epsilon: float, steps: Steps, delta: float) -> bool:
    """Tell whether steps cost more than ε at δ, by more than rounding."""
    found = bounds(steps, delta)
    if found.pld is None:
        return math.isfinite(epsilon)  # what has no number cannot be told to be within one
    if epsilon >= found.pld - TOLERANCE * (1 + found.pld):
        return False
    # An upper bound on a finer grid is lower, and holds as well.
    finer = _pld(steps, delta, _grid(steps) / 10)
    return epsilon < finer - TOLERANCE * (1 + finer)


def is_below(claimed: Claimed, steps: Steps) -> bool:
    """Tell whether a claim is below what the steps cost, by either accountant."""
    by_rdp = bounds(steps, claimed.delta).rdp
    if by_rdp is not None and claimed.rdp < by_rdp - TOLERANCE * (1 + by_rdp):
        return True
    return cost_more(claimed.pld, steps, claimed.delta)


def check_spending(work: Sequence[Work], decisions: Sequence[Decision]) -> Iterator[Finding]:
    """Find limits of the hospital's that work under them goes beyond, whatever was claimed of it."""
    for decision in decisions:
        later = [other.entry for other in decisions
                 if other.cohort == decision.cohort and other.entry > decision.entry]
        end = min(later, default=math.inf)
        so_far = [one for one in work
                  if one.line.cohort == decision.cohort and one.reserved_at < end]
        if any(one.reserved_at > decision.entry for one in so_far) and cost_more(
                decision.epsilon, _steps(so_far), decision.delta):
            found = bounds(_steps(so_far), decision.delta).pld
            yield Finding("over_budget", decision.entry, f"entry {decision.entry} allows an epsilon of "
                          f"{decision.epsilon:g} at delta {decision.delta:g}, and what was charged "
                          f"under it comes to {'no number' if found is None else f'{found:.6g}'}")


def merged(mechanisms: Iterable[Mechanism]) -> Steps:
    """Return the distinct (q, σ) with how often each was done."""
    steps: Counter[tuple[float, float]] = Counter()
    for one in mechanisms:
        steps[one.sample_rate, one.noise_multiplier] += one.steps
    return tuple((*pair, count) for pair, count in sorted(steps.items()))


def _recomputed(cohort: str, work: Sequence[Work], is_void: bool, delta: float | None) -> Recomputed:
    claimed = max((one.line for one in work if one.line.spent), key=lambda line: line.seq).spent
    if claimed is None:
        raise ValueError("work without what was spent")  # the reader lets none pass
    at = claimed.delta if delta is None else delta
    shares = {
        "stage": [(name, [one for one in work if one.line.stage == name]) for name in STAGES],
        "run": [(run, [one for one in work if one.line.run == run])
                for run in dict.fromkeys(str(one.line.run) for one in work)],
        "release": [(what, [one for one in work if one.line.what == what])
                    for what in dict.fromkeys(str(one.line.what) for one in work)]}
    steps = _steps(work)
    found = bounds(steps, at)
    return Recomputed(
        cohort, at, claimed, found,
        {kind: tuple(_share(name, own, at) for name, own in parts if own)
         for kind, parts in shares.items()},
        sum(not one.is_settled for one in work), is_void, is_below(claimed, steps))


def _share(name: str, work: Sequence[Work], delta: float) -> Share:
    steps = _steps(work)
    return Share(name, len(work), sum(count for _, _, count in steps), bounds(steps, delta))


def _steps(work: Iterable[Work]) -> Steps:
    return merged(one.line.mechanism for one in work if one.line.mechanism is not None)


def _grid(steps: Steps) -> float:
    """Return how finely losses are told apart: 1e-3, or finer where steps lose less than that.

    Rounding up to a grid of width h adds at most h²/4 to the variance of each step's loss, which is
    about q² (exp(1/σ²) − 1). All of it together is kept below a fortieth.
    """
    count = sum(number for _, _, number in steps)
    variance = sum(number * q**2 * math.expm1(1 / sigma**2) for q, sigma, number in steps)
    grid = 1e-3
    while count * grid**2 / 4 > variance / 40 and grid > 1e-5:
        grid /= 10
    return grid


def _pld(steps: Steps, delta: float, grid: float) -> float:
    """Return ε by privacy loss distributions, rounded up.

    Koskela et al. 2020, https://arxiv.org/abs/1906.03049; Doroshenko et al. 2022,
    https://arxiv.org/abs/2207.04380, as in dp-accounting.
    """
    from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: PLC0415  # takes a second
    from dp_accounting.privacy_accountant import NeighboringRelation  # noqa: PLC0415

    whole = None
    for sample_rate, noise_multiplier, count in steps:
        is_sampled = sample_rate < 1
        part = pld.from_gaussian_mechanism(
            # n Gaussians are one with σ/√n, exactly.
            noise_multiplier if is_sampled else noise_multiplier / math.sqrt(count),
            sampling_prob=sample_rate, value_discretization_interval=grid, pessimistic_estimate=True,
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
        part = part.self_compose(count) if is_sampled and count > 1 else part
        whole = part if whole is None else whole.compose(part)
    if whole is None:
        return 0.0
    with np.errstate(over="ignore"):
        return float(whole.get_epsilon_for_delta(delta))
