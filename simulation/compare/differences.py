"""How far one contestant is ahead of another on the same resamples, and whether that is chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.metrics import FEW
from simulation.compare.arms import SINGLE
from simulation.compare.results import Measure, interval_of, num_people, resamples_of, that_count

Floats = NDArray[np.float64]

# Metrics of which less is better.
LESS_IS_BETTER = frozenset({"mae"})
# How often chance alone may name any winner among all measures against one opponent.
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """How far one contestant is ahead of another on the same resamples of the same scans.

    Attributes:
        measure: What is measured.
        metric: How.
        contestant: Who.
        against: Against whom.
        value: Positive where the contestant is better.
        low: 2.5th percentile over resampled subjects.
        high: 97.5th percentile.
        share: The contestant's figure over the other's; None where that has no sense.
        do_intervals_overlap: Whether the two figures' own intervals do.
        num_subjects: People that both say something of; the difference is over them.
        is_partial: Whether there are others, of whom only one says something.
        own: The contestant's figure on these people.
        theirs: The other's.
        p: Two-sided, of this difference alone.
        p_adjusted: The same, corrected for how many measures are asked; None where it is not summed
            up.
    """

    measure: str
    metric: str
    contestant: str
    against: str
    value: float
    low: float
    high: float
    share: float | None
    do_intervals_overlap: bool
    num_subjects: int = 0
    is_partial: bool = False
    own: float = float("nan")
    theirs: float = float("nan")
    p: float = 1.0
    p_adjusted: float | None = None

    @property
    def winner(self) -> str | None:
        """Who is better beyond chance, all measures considered; None where that is open.

        Over few people intervals are too narrow to name a winner by, and of two that are worse than
        naming the mean (R² below 0) neither is one.
        """
        if self.why_open is not None or self.p_adjusted is None or self.p_adjusted >= LEVEL:
            return None
        return self.contestant if self.value > 0 else self.against

    @property
    def why_open(self) -> str | None:
        """Why no winner may be named, whatever p is; None where one may."""
        if self.num_subjects < FEW:
            return f"fewer than {FEW} people"
        if self.metric == "r2" and self.own < 0 and self.theirs < 0:
            return "both worse than naming the mean"
        return None


def differences_of(measure: Measure, pairs: Sequence[tuple[str, str]], seed: int) -> list[Difference]:
    """Return how far the first of each pair is ahead of the second, on scans that both cover."""
    weights = resamples_of(measure, seed)
    ones, found = np.ones((1, len(measure.sites))), []
    for one, other in pairs:
        if one not in measure.answers or other not in measure.answers:
            continue
        rows = measure.answers[one].covered & measure.answers[other].covered
        (plain, plain_other), (drawn, drawn_other) = (
            [measure.answers[who].metrics(measure.kind, how, rows) for who in (one, other)]
            for how in (ones, weights))
        for metric, values in plain.items():
            sign = -1 if metric in LESS_IS_BETTER else 1
            mine, theirs = float(values[0]), float(plain_other[metric][0])
            ahead = sign * (drawn[metric] - drawn_other[metric])
            low, high = interval_of(ahead)
            if low is None or high is None or not np.isfinite(mine - theirs):
                continue
            used = that_count(measure, measure.answers[one], rows, metric)
            found.append(Difference(
                measure.name, metric, one, other, sign * (mine - theirs), low, high,
                _share(mine, theirs, sign), _overlap(drawn[metric], drawn_other[metric]),
                num_people(measure, used), not bool(rows.all()), mine, theirs,
                chance(ahead)))
    return found


def chance(ahead: Floats) -> float:
    """Return the two-sided p of resampled differences: twice the share on the rarer side of 0.

    That inverts the percentile interval: Efron and Tibshirani (1993), chapter 15,
    https://doi.org/10.1201/9780429246593. One is added to both counts, as the sample itself is one
    of the draws: Davison and Hinkley (1997), https://doi.org/10.1017/CBO9780511802843, 4.4.

    Args:
        ahead: (R,) with NaN where a resample does not define it.
    """
    defined = ahead[np.isfinite(ahead)]
    rarer = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (1 + rarer) / (1 + len(defined))))


def adjust(differences: Sequence[Difference], summed_up: set[tuple[str, str]]) -> list[Difference]:
    """Return all differences, those that are summed up with p corrected for how many they are.

    Against each opponent the measures are one family, in which Holm (1979),
    https://www.jstor.org/stable/4615733, keeps the chance of any false winner at the level.

    Args:
        differences: All of them.
        summed_up: Measure and main metric.
    """
    adjusted = list(differences)
    families: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(differences):
        if (one.measure, one.metric) in summed_up:
            families.setdefault((one.contestant, _opponent(one.against)), []).append(place)
    for places in families.values():
        least = 0.0
        for rank, place in enumerate(sorted(places, key=lambda place: differences[place].p)):
            least = max(least, min(1.0, (len(places) - rank) * differences[place].p))
            adjusted[place] = replace(differences[place], p_adjusted=least)
    return adjusted


def _opponent(name: str) -> str:
    """Return the family that an opponent is of: the best single site is another in each measure."""
    return SINGLE if name.startswith(SINGLE) else name


def _overlap(one: Floats, other: Floats) -> bool:
    (low, high), (other_low, other_high) = interval_of(one), interval_of(other)
    if low is None or high is None or other_low is None or other_high is None:
        return True
    return low <= other_high and other_low <= high


def _share(mine: float, theirs: float, sign: int) -> float | None:
    if mine <= 0 or theirs <= 0:
        return None
    return mine / theirs if sign > 0 else theirs / mine
