"""Figures of a probe on test volumes, many resamples of the subjects at once.

Every metric takes weights (R, n): how often each of R resamples has each volume; a row of ones is
the plain metric. NaN is where a resample does not define it, such as the AUC of one class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.fits.moments import Floats
from braing3n.evaluation.pairs import auc, c_index, ranked_pairs, ratio

Kind = Literal["classification", "regression", "survival"]

NUM_RESAMPLES = 2000
# Percentile intervals of fewer people come out too narrow; DECISIONS.md has the figures.
FEW = 20
# What each kind of task is measured by, the main one first.
METRICS: Mapping[Kind, tuple[str, ...]] = MappingProxyType({
    "classification": ("auc_within_sites", "auc", "balanced_accuracy"),
    "regression": ("r2", "r2_within_sites", "mae", "pearson_r"),
    "survival": ("c_index",),
})
# How they are written in texts and tables.
METRIC_NAMES: Mapping[str, str] = MappingProxyType({
    "auc": "AUC", "auc_within_sites": "AUC within sites", "balanced_accuracy": "balanced accuracy",
    "r2": "R²", "r2_within_sites": "R² within sites", "mae": "mean error", "pearson_r": "r",
    "c_index": "C-index",
})


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
        (R,) by the kind's `METRICS`.
    """
    if kind == "regression":
        truths, guesses = predictions.truths.astype(np.float64), predictions.scores[:, 0]
        return {"r2": r2(truths, guesses, weights),
                "r2_within_sites": r2_within_sites(truths, guesses, predictions.sites, weights),
                "mae": mae(truths, guesses, weights),
                "pearson_r": pearson_r(truths, guesses, weights)}
    if kind == "survival":
        events = predictions.events
        if events is None:
            raise ValueError("survival is measured on times and events")
        return {"c_index": c_index(predictions.truths.astype(np.float64), events,
                                   predictions.scores[:, 0], predictions.sites, weights)}
    return {"auc_within_sites": auc_within_sites(predictions, weights),
            "auc": class_auc(predictions, weights),
            "balanced_accuracy": balanced_accuracy(predictions, weights)}


def estimate(kind: Kind, predictions: Predictions, seed: int) -> dict[str, Estimate]:
    """Return each metric with its interval over resampled persons."""
    if not len(predictions.truths):
        return {name: Estimate(None, reason="no test volume") for name in METRICS[kind]}
    plain = figures(kind, predictions, np.ones((1, len(predictions.truths))))
    drawn = figures(kind, predictions, resample(predictions.persons(), seed))
    return {name: _estimate(float(plain[name][0]), drawn[name], _UNDEFINED[name]) for name in plain}


_UNDEFINED = {"auc_within_sites": "no site with more than one class",
              "auc": "one class alone", "balanced_accuracy": "one class alone",
              "r2_within_sites": "values that do not differ inside sites",
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


def class_auc(predictions: Predictions, weights: Floats) -> Floats:
    """Return (R,) the AUC of two classes; of more, the mean of each against the rest.

    A class that a resample lacks takes no part in it. Volumes of different sites are ranked too: where
    sites have different shares of a class, a model that merely tells sites apart scores.
    """
    each = [auc(scores, positive, weights) for scores, positive in _against_rest(predictions)]
    return _mean_of_defined(np.stack(each))                              # of (k, R)


def auc_within_sites(predictions: Predictions, weights: Floats) -> Floats:
    """Return (R,) the AUC over pairs of one site; of more than two classes, the mean of each.

    Nobody is ranked beside anybody of another site, so that neither a label that goes with the site
    nor scores of different models at different sites count. It is the mean of the sites' AUCs: the
    covariate-adjusted AUC of Janes and Pepe (2009), https://doi.org/10.1093/biomet/asp002, with the
    site as the covariate, though weighted by each site's pairs in place of its cases.
    """
    rows_of = [predictions.sites == site for site in np.unique(predictions.sites)]
    each = []
    for scores, positive in _against_rest(predictions):
        pairs = [ranked_pairs(scores[rows], positive[rows], weights[:, rows]) for rows in rows_of]
        won, possible = np.sum(pairs, axis=0)                            # (R,) each
        each.append(ratio(won, possible))
    return _mean_of_defined(np.stack(each))                              # of (k, R)


def _against_rest(predictions: Predictions) -> list[tuple[Floats, NDArray[np.bool_]]]:
    """Return (n,) scores and (n,) who is of the class, for each class; of two, the second's."""
    names, scores, truths = predictions.classes, predictions.scores, predictions.truths
    if len(names) == 2:
        return [(scores[:, 0], truths == names[1])]
    return [(scores[:, number], truths == name) for number, name in enumerate(names)]


def balanced_accuracy(predictions: Predictions, weights: Floats) -> Floats:
    """Return (R,) the mean, over the classes that a resample has, of the share named rightly."""
    right = predictions.predicted == predictions.truths                  # (n,)
    each = []
    for name in predictions.classes:
        inside = weights * (predictions.truths == name)                  # (R, n)
        each.append(ratio((inside * right).sum(axis=1), inside.sum(axis=1)))
    shares = np.stack(each)                                              # (k, R)
    return np.where(np.isfinite(shares).sum(axis=0) > 1, _mean_of_defined(shares), np.nan)


def r2(truths: Floats, guesses: Floats, weights: Floats) -> Floats:
    """Return (R,) coefficients of determination: 1 less squared error over variance."""
    mean = ratio(weights @ truths, weights.sum(axis=1))                 # (R,)
    # About the resample's own mean; a variance of rounding alone is none.
    spread = (weights * (truths - mean[:, None]) ** 2).sum(axis=1)       # (R,)
    floor = 1e-20 * weights.sum(axis=1) * (1 + mean**2)
    return 1 - ratio(weights @ (truths - guesses) ** 2, np.where(spread > floor, spread, 0))


def r2_within_sites(truths: Floats, guesses: Floats, sites: NDArray[np.str_],
                    weights: Floats) -> Floats:
    """Return (R,) the share of the variance inside sites that guesses explain.

    Truths and guesses count from their site's own mean, so that neither a number that goes with the
    site nor a probe that knows its site's mean earns anything: the within-R² of a regression with an
    intercept a site, Wooldridge (2010), chapter 10.5, https://mitpress.mit.edu/9780262232586.

    Args:
        truths: (n,).
        guesses: (n,).
        sites: (n,).
        weights: (R, n).
    """
    wrong, spread = np.zeros(len(weights)), np.zeros(len(weights))       # (R,) each
    for site in np.unique(sites):
        here = sites == site
        own, total = weights[:, here], weights[:, here].sum(axis=1)
        truth = truths[here] - ratio(own @ truths[here], total)[:, None]       # (R, m)
        error = truth - guesses[here] + ratio(own @ guesses[here], total)[:, None]
        wrong += np.nansum(own * error**2, axis=1)
        spread += np.nansum(own * truth**2, axis=1)
    floor = 1e-20 * weights.sum(axis=1) * (1 + float(np.abs(truths).max()) ** 2)
    return 1 - ratio(wrong, np.where(spread > floor, spread, 0))


def mae(truths: Floats, guesses: Floats, weights: Floats) -> Floats:
    """Return (R,) mean absolute errors."""
    return ratio(weights @ np.abs(truths - guesses), weights.sum(axis=1))


def pearson_r(truths: Floats, guesses: Floats, weights: Floats) -> Floats:
    """Return (R,) Pearson's correlation coefficients."""
    total = weights.sum(axis=1)                                          # (R,)
    one = truths - ratio(weights @ truths, total)[:, None]              # (R, n)
    other = guesses - ratio(weights @ guesses, total)[:, None]          # (R, n)
    product = (weights * one * other).sum(axis=1)
    power = (weights * one**2).sum(axis=1) * (weights * other**2).sum(axis=1)
    return ratio(product, np.sqrt(np.where(power > 1e-30, power, 0)))


def _mean_of_defined(each: Floats) -> Floats:
    """Return (R,) the mean over (k, R) without NaN; NaN where all are."""
    return ratio(np.nansum(each, axis=0), np.isfinite(each).sum(axis=0).astype(np.float64))
