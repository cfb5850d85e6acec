"""What every arm scores on the held-out subjects, with intervals over these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.metrics import Kind, Predictions, figures, persons_of, resample

Floats = NDArray[np.float64]

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
        main: The metric that contestants are compared by.
        subjects: (n,) of the test scans.
        sites: (n,).
        answers: By contestant.
        told_by_site: How much of the label the site alone tells, 0 to 1; None where that has no
            sense.
    """

    name: str
    kind: Kind | None
    main: str
    subjects: NDArray[np.str_]
    sites: NDArray[np.str_]
    answers: Mapping[str, Answers]
    told_by_site: float | None = None


@dataclass(frozen=True)
class Main:
    """A measure that is summed up.

    Attributes:
        measure: What is measured.
        metric: How.
        told_by_site: As in `Measure`.
    """

    measure: str
    metric: str
    told_by_site: float | None = None


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


def resamples_of(measure: Measure, seed: int) -> Floats:
    """Return (R, n) how often each resample of people has each test scan: the same for everybody."""
    return resample(persons_of(measure.subjects, measure.sites), seed)


def results_of(measure: Measure, seed: int) -> list[Result]:
    """Return every metric of every contestant, over all test scans and over each site's."""
    weights = resamples_of(measure, seed)
    places: list[str | None] = [None, *np.unique(measure.sites).tolist()]
    found = []
    for contestant, answers in measure.answers.items():
        for place in places:
            rows = np.ones(len(measure.sites), bool) if place is None else measure.sites == place
            counted = rows & answers.covered
            plain = answers.metrics(measure.kind, np.ones((1, len(rows))), rows)
            drawn = answers.metrics(measure.kind, weights, rows)
            for metric, values in plain.items():
                used = that_count(measure, answers, counted, metric)
                low, high = interval_of(drawn[metric])
                value = float(values[0]) if np.isfinite(values[0]) else None
                found.append(Result(
                    measure.name, metric, contestant, place, value,
                    None if value is None else low, None if value is None else high,
                    num_people(measure, used), int(used.sum()),
                    "; ".join(answers.why_not) if place is None else ""))
    return found


def that_count(measure: Measure, answers: Answers, rows: NDArray[np.bool_],
               metric: str) -> NDArray[np.bool_]:
    """Return (n,) which of the covered rows a metric is of.

    Within sites, a site that has one class alone among them says nothing.
    """
    if metric != "auc_within_sites" or answers.predictions is None:
        return rows
    truths = np.full(len(rows), "", dtype=object)
    truths[answers.covered] = answers.predictions.truths
    used = np.zeros(len(rows), dtype=bool)
    for site in np.unique(measure.sites):
        here = rows & (measure.sites == site)
        used |= here & (len(set(truths[here])) > 1)
    return used


def num_people(measure: Measure, rows: NDArray[np.bool_]) -> int:
    """Return of how many people these rows of a measure are."""
    return len(np.unique(persons_of(measure.subjects[rows], measure.sites[rows])))


def as_dict(one: object) -> dict[str, Any]:
    """Return a dataclass of plain values as JSON has it."""
    return {key: round(value, 6) if isinstance(value, float) else value
            for key, value in vars(one).items()}


def interval_of(drawn: Floats) -> tuple[float | None, float | None]:
    """Return the 2.5th and 97.5th percentile; None where fewer than half of them are defined."""
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < max(len(drawn) / 2, 1):
        return None, None
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)
