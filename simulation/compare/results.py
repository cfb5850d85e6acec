"""What every arm scores on the held-out subjects, with intervals that can be compared in pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.metrics import Kind, Predictions, figures, persons_of, resample

Floats = NDArray[np.float64]

# Metrics of which less is better.
LESS_IS_BETTER = frozenset({"mae"})


@dataclass(frozen=True)
class Answers:
    """What one contestant says of a measure's test scans.

    Attributes:
        covered: (n,) which of the scans it says something of; the rest it cannot.
        predictions: Of the covered scans, in their order; None for the decoder.
        scores: By metric, (n,) for the decoder: a figure of each scan.
        why_not: What it cannot say anything of, and why.
    """

    covered: NDArray[np.bool_]
    predictions: Predictions | None = None
    scores: Mapping[str, Floats] | None = None
    why_not: tuple[str, ...] = ()

    def metrics(self, kind: Kind | None, weights: Floats, rows: NDArray[np.bool_]) -> dict[str, Floats]:
        """Return (R,) of each metric over some rows of the measure.

        Args:
            kind: Of the task; None for the decoder.
            weights: (R, n) how often each resample has each scan.
            rows: (n,) which are counted; the contestant's own alone.
        """
        counted = rows & self.covered
        if self.predictions is None or kind is None:
            own = weights[:, counted]
            total = own.sum(axis=1)
            return {name: np.divide(own @ score[counted], total, where=total > 0,
                                    out=np.full(len(own), np.nan))
                    for name, score in (self.scores or {}).items()}
        if not counted.any():
            return {}
        return figures(kind, self.predictions.only(counted[self.covered]), weights[:, counted])


@dataclass(frozen=True)
class Measure:
    """One thing that contestants are compared by.

    Attributes:
        name: A probe's task, or `decoder`.
        kind: Of the task; None for the decoder.
        subjects: (n,) of the test scans.
        sites: (n,).
        answers: By contestant.
    """

    name: str
    kind: Kind | None
    subjects: NDArray[np.str_]
    sites: NDArray[np.str_]
    answers: Mapping[str, Answers]


@dataclass(frozen=True)
class Result:
    """One figure of one contestant.

    Attributes:
        measure: What is measured.
        metric: How.
        contestant: Whose.
        site: Over whose test scans; None is all.
        value: None where it is not defined.
        low: 2.5th percentile over resampled subjects.
        high: 97.5th percentile.
        num_subjects: People that it is measured on.
        num_scans: Their scans.
        note: What it leaves out.
    """

    measure: str
    metric: str
    contestant: str
    site: str | None
    value: float | None
    low: float | None
    high: float | None
    num_subjects: int
    num_scans: int
    note: str = ""


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


def results_of(measure: Measure, seed: int) -> list[Result]:
    """Return every metric of every contestant, over all test scans and over each site's."""
    weights = resample(persons_of(measure.subjects, measure.sites), seed)
    places: list[str | None] = [None, *np.unique(measure.sites).tolist()]
    found = []
    for contestant, answers in measure.answers.items():
        for place in places:
            rows = np.ones(len(measure.sites), bool) if place is None else measure.sites == place
            counted = rows & answers.covered
            plain = answers.metrics(measure.kind, np.ones((1, len(rows))), rows)
            drawn = answers.metrics(measure.kind, weights, rows)
            people = len(np.unique(persons_of(measure.subjects[counted], measure.sites[counted])))
            for metric, values in plain.items():
                low, high = _interval(drawn[metric])
                value = float(values[0]) if np.isfinite(values[0]) else None
                found.append(Result(
                    measure.name, metric, contestant, place, value,
                    None if value is None else low, None if value is None else high, people,
                    int(counted.sum()), "; ".join(answers.why_not) if place is None else ""))
    return found


def differences_of(measure: Measure, pairs: Sequence[tuple[str, str]], seed: int) -> list[Difference]:
    """Return how far the first of each pair is ahead of the second, on scans that both cover."""
    weights = resample(persons_of(measure.subjects, measure.sites), seed)
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
            low, high = _interval(ahead)
            if low is None or high is None or not np.isfinite(mine - theirs):
                continue
            found.append(Difference(
                measure.name, metric, one, other, sign * (mine - theirs), low, high,
                _share(mine, theirs, sign), _overlap(drawn[metric], drawn_other[metric]),
                len(np.unique(persons_of(measure.subjects[rows], measure.sites[rows]))),
                not bool(rows.all())))
    return found


def as_dict(one: Result | Difference) -> dict[str, Any]:
    """Return it as plain values, for JSON."""
    return {key: round(value, 6) if isinstance(value, float) else value
            for key, value in vars(one).items()}


def _interval(drawn: Floats) -> tuple[float | None, float | None]:
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < max(len(drawn) / 2, 1):
        return None, None
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)


def _overlap(one: Floats, other: Floats) -> bool:
    (low, high), (other_low, other_high) = _interval(one), _interval(other)
    if low is None or high is None or other_low is None or other_high is None:
        return True
    return low <= other_high and other_low <= high


def _share(mine: float, theirs: float, sign: int) -> float | None:
    if mine <= 0 or theirs <= 0:
        return None
    return mine / theirs if sign > 0 else theirs / mine
