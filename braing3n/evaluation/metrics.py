"""Figures of a probe on test volumes, many resamples of the subjects at once.

Every metric takes weights (R, n): how often each of R resamples has each volume; a row of ones is
the plain metric. NaN is where a resample does not define it, such as the AUC of one class.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.moments import Floats

Kind = Literal["classification", "regression", "survival"]

NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval over resampled subjects.

    Attributes:
        value: None where it is not defined.
        low: 2.5th percentile; None where too few resamples define it.
        high: 97.5th percentile.
        reason: Why there is no value or no interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Predictions:
    """What a probe says of each test volume. Rows are volumes.

    Attributes:
        scores: (n, k) the value (regression), log hazard (survival), or scores of the classes: of
            two, one column, the second's.
        predicted: (n,) the class that is named, or the value.
        truths: (n,) the class, the value, or the time until the event.
        events: (n,) for survival: whether the event happened at that time.
        subjects: (n,).
        sites: (n,). A person is a subject of a site.
        classes: The classes, in the order of the columns; empty otherwise.
    """

    scores: Floats
    predicted: NDArray[np.generic]
    truths: NDArray[np.generic]
    events: NDArray[np.bool_] | None
    subjects: NDArray[np.str_]
    sites: NDArray[np.str_]
    classes: tuple[str, ...] = ()

    def persons(self) -> NDArray[np.intp]:
        """Return (n,) a number for each person, 0 and up."""
        return persons_of(self.subjects, self.sites)

    def only(self, chosen: NDArray[np.bool_]) -> "Predictions":
        """Return some of the rows."""
        return Predictions(self.scores[chosen], self.predicted[chosen], self.truths[chosen],
                           None if self.events is None else self.events[chosen],
                           self.subjects[chosen], self.sites[chosen], self.classes)


def persons_of(subjects: NDArray[np.str_], sites: NDArray[np.str_]) -> NDArray[np.intp]:
    """Return (n,) a number for each pair of site and subject, as pseudonyms repeat over sites."""
    pairs = np.array([f"{site}\x1f{subject}" for site, subject in zip(sites, subjects, strict=True)])
    numbers: NDArray[np.intp] = np.unique(pairs, return_inverse=True)[1]
    return numbers


def resample(persons: NDArray[np.intp], seed: int, num: int = NUM_RESAMPLES) -> Floats:
    """Return (num, n) how often each volume is drawn when persons are, with replacement."""
    count = int(persons.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=num)
    weights: Floats = draws[:, persons].astype(np.float64)
    return weights


def figures(kind: Kind, predictions: Predictions, weights: Floats) -> dict[str, Floats]:
    """Return each metric of a kind of task, the first being its main one.

    Args:
        kind: Of the task.
        predictions: Of n volumes.
        weights: (R, n).

    Returns:
        (R,) by metric: `auc` and `balanced_accuracy`; `r2`, `mae` and `pearson_r`; `c_index`.
    """
    if kind == "regression":
        truths, guesses = predictions.truths.astype(np.float64), predictions.scores[:, 0]
        return {"r2": r2(truths, guesses, weights), "mae": mae(truths, guesses, weights),
                "pearson_r": pearson_r(truths, guesses, weights)}
    if kind == "survival":
        events = predictions.events
        if events is None:
            raise ValueError("survival is measured on times and events")
        return {"c_index": c_index(predictions.truths.astype(np.float64), events,
                                   predictions.scores[:, 0], predictions.sites, weights)}
    return {"auc": class_auc(predictions, weights),
            "balanced_accuracy": balanced_accuracy(predictions, weights)}


def estimate(kind: Kind, predictions: Predictions, seed: int) -> dict[str, Estimate]:
    """Return each metric with its interval over resampled persons."""
    if not len(predictions.truths):
        return {name: Estimate(None, reason="no test volume") for name in _NAMES[kind]}
    plain = figures(kind, predictions, np.ones((1, len(predictions.truths))))
    drawn = figures(kind, predictions, resample(predictions.persons(), seed))
    return {name: _estimate(float(plain[name][0]), drawn[name], _UNDEFINED[name]) for name in plain}


_NAMES: dict[Kind, tuple[str, ...]] = {"classification": ("auc", "balanced_accuracy"),
                                       "regression": ("r2", "mae", "pearson_r"),
                                       "survival": ("c_index",)}
_UNDEFINED = {"auc": "one class alone", "balanced_accuracy": "one class alone",
              "r2": "values that do not differ", "mae": "no value",
              "pearson_r": "values that do not differ",
              "c_index": "no two people of a site of whom the earlier had the event"}


def _estimate(value: float, drawn: Floats, reason: str) -> Estimate:
    if not np.isfinite(value):
        return Estimate(None, reason=reason)
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < len(drawn) / 2:
        return Estimate(value, reason="fewer than half of the resamples define it")
    low, high = np.percentile(defined, (2.5, 97.5))
    return Estimate(value, float(low), float(high))


def auc(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return (R,) areas under the ROC curve.

    The share of pairs, one of each class, that are ranked rightly, a tie counting one half: Hanley
    and McNeil (1982), https://doi.org/10.1148/radiology.143.1.7063747.

    Args:
        scores: (n,).
        positive: (n,).
        weights: (R, n).
    """
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)              # of the t different ones
    ones = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)     # (R, t)
    zeros = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)   # (R, t)
    below = np.cumsum(zeros, axis=1) - 0.5 * zeros                                  # (R, t)
    return _ratio((ones * below).sum(axis=1), ones.sum(axis=1) * zeros.sum(axis=1))


def class_auc(predictions: Predictions, weights: Floats) -> Floats:
    """Return (R,) the AUC of two classes; of more, the mean of each against the rest.

    A class that a resample lacks takes no part in it.
    """
    names = predictions.classes
    if len(names) == 2:
        return auc(predictions.scores[:, 0], predictions.truths == names[1], weights)
    each = np.stack([auc(predictions.scores[:, number], predictions.truths == name, weights)
                     for number, name in enumerate(names)])              # (k, R)
    return _mean_of_defined(each)


def balanced_accuracy(predictions: Predictions, weights: Floats) -> Floats:
    """Return (R,) the mean, over the classes that a resample has, of the share named rightly."""
    right = predictions.predicted == predictions.truths                  # (n,)
    each = []
    for name in predictions.classes:
        inside = weights * (predictions.truths == name)                  # (R, n)
        each.append(_ratio((inside * right).sum(axis=1), inside.sum(axis=1)))
    shares = np.stack(each)                                              # (k, R)
    return np.where(np.isfinite(shares).sum(axis=0) > 1, _mean_of_defined(shares), np.nan)


def r2(truths: Floats, guesses: Floats, weights: Floats) -> Floats:
    """Return (R,) coefficients of determination: 1 less squared error over variance."""
    mean = _ratio(weights @ truths, weights.sum(axis=1))                 # (R,)
    # About the resample's own mean; a variance of rounding alone is none.
    spread = (weights * (truths - mean[:, None]) ** 2).sum(axis=1)       # (R,)
    floor = 1e-20 * weights.sum(axis=1) * (1 + mean**2)
    return 1 - _ratio(weights @ (truths - guesses) ** 2, np.where(spread > floor, spread, 0))


def mae(truths: Floats, guesses: Floats, weights: Floats) -> Floats:
    """Return (R,) mean absolute errors."""
    return _ratio(weights @ np.abs(truths - guesses), weights.sum(axis=1))


def pearson_r(truths: Floats, guesses: Floats, weights: Floats) -> Floats:
    """Return (R,) Pearson's correlation coefficients."""
    total = weights.sum(axis=1)                                          # (R,)
    one = truths - _ratio(weights @ truths, total)[:, None]              # (R, n)
    other = guesses - _ratio(weights @ guesses, total)[:, None]          # (R, n)
    product = (weights * one * other).sum(axis=1)
    power = (weights * one**2).sum(axis=1) * (weights * other**2).sum(axis=1)
    return _ratio(product, np.sqrt(np.where(power > 1e-30, power, 0)))


def c_index(times: Floats, events: NDArray[np.bool_], scores: Floats, sites: NDArray[np.str_],
            weights: Floats) -> Floats:
    """Return (R,) Harrell's concordance over pairs of one site, a tie of scores counting one half.

    A pair counts where the earlier of the two times is an event's; of one time, where one is an
    event's and the other is not.
    """
    earlier = (times[:, None] < times) | ((times[:, None] == times) & ~events)
    counts = (events[:, None] & earlier & (sites[:, None] == sites)).astype(np.float64)  # (n, n)
    right = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    won = ((weights @ (counts * right)) * weights).sum(axis=1)
    return _ratio(won, ((weights @ counts) * weights).sum(axis=1))


def _ratio(over: Floats, under: Floats) -> Floats:
    """Return over / under, NaN where that divides by 0."""
    ratio: Floats = np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)
    return ratio


def _mean_of_defined(each: Floats) -> Floats:
    """Return (R,) the mean over (k, R) without NaN; NaN where all are."""
    return _ratio(np.nansum(each, axis=0), np.isfinite(each).sum(axis=0).astype(np.float64))
