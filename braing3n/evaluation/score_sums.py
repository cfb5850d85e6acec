"""What a fitted probe comes to on a site's held-out volumes: sums from which all sites' metrics follow.

R², mean absolute error, correlation, balanced accuracy and concordance are those of all sites'
volumes together. The AUC is over pairs of one site: the share of all such pairs that are ranked
rightly, so that a label that goes with the site cannot flatter it.
"""

import math
from collections.abc import Sequence

import numpy as np

from braing3n.evaluation.fits.moments import Floats, Moments, merge, moments_of
from braing3n.evaluation.metrics import Kind, Predictions
from braing3n.evaluation.pairs import concordant_pairs, ranked_pairs
from braing3n.probe_messages import MIN_SUBJECTS, ClassSums, ErrorSums, PairSums, TaskReport

Figures = dict[str, float | None]


def report_scores(kind: Kind, predictions: Predictions) -> TaskReport:
    """Return what may leave of one site's predictions: nothing over fewer than five people.

    Of survival that is five people with the event; of a classification five of each class, classes
    with fewer being left out.
    """
    if kind == "classification":
        return TaskReport(classes=_class_sums(predictions))
    enough = predictions.persons()
    if kind == "survival" and predictions.events is not None:
        enough = enough[predictions.events]
    if len(np.unique(enough)) < MIN_SUBJECTS:
        return TaskReport()
    if kind == "regression":
        return TaskReport(errors=_error_sums(predictions))
    return TaskReport(pairs=_pair_sums(predictions))


def figures_of(kind: Kind, reports: Sequence[TaskReport], names: Sequence[str]) -> Figures:
    """Return a probe's metrics over some sites, None where one is not defined.

    Args:
        kind: Of the task.
        reports: What the sites gave.
        names: The classes.
    """
    if kind == "regression":
        return _of_errors([report.errors for report in reports if report.errors is not None])
    if kind == "survival":
        return {"c_index": _share([report.pairs for report in reports if report.pairs is not None])}
    by_name = {name: [report.classes[name] for report in reports if name in report.classes]
               for name in names}
    told = names if len(names) > 2 else names[1:]
    aucs = [auc for name in told if (auc := _share(by_name[name])) is not None]
    shares = [sum(part.num_right for part in parts) / sum(part.num for part in parts)
              for parts in by_name.values() if parts]
    return {"auc_within_sites": sum(aucs) / len(aucs) if aucs else None,
            "balanced_accuracy": sum(shares) / len(shares) if len(shares) > 1 else None}


def _class_sums(predictions: Predictions) -> dict[str, ClassSums]:
    truths, persons = predictions.truths.astype(np.str_), predictions.persons()
    people = {name: len(np.unique(persons[truths == name])) for name in predictions.classes}
    given = [name for name in predictions.classes if people[name] >= MIN_SUBJECTS]
    inside = predictions.only(np.isin(truths, given))
    truths = inside.truths.astype(np.str_)
    sums = {}
    for name in given:
        positive = truths == name
        won, possible = 0.0, 0.0
        if len(given) > 1 and (column := _column(predictions.classes, name)) is not None:
            won, possible = _of_ones(*ranked_pairs(inside.scores[:, column], positive,
                                                  np.ones((1, len(truths)))))
        sums[name] = ClassSums(num=int(positive.sum()), num_subjects=people[name],
                               num_right=int((inside.predicted[positive] == name).sum()),
                               won=won, possible=possible)
    return sums


def _column(classes: Sequence[str], name: str) -> int | None:
    """Return the column that tells a class from the rest; of two classes the second has one."""
    if len(classes) > 2:
        return classes.index(name)
    return 0 if name == classes[1] else None


def _error_sums(predictions: Predictions) -> ErrorSums:
    truths, guesses = predictions.truths.astype(np.float64), predictions.scores[:, 0]
    both = moments_of(np.column_stack([truths, guesses]))
    return ErrorSums(
        num=len(truths), num_subjects=len(np.unique(predictions.persons())),
        mean=(float(both.mean[0]), float(both.mean[1])),
        scatter=(float(both.scatter[0, 0]), float(both.scatter[0, 1]), float(both.scatter[1, 1])),
        absolute=float(np.abs(truths - guesses).sum()))


def _pair_sums(predictions: Predictions) -> PairSums:
    if predictions.events is None:
        raise ValueError("survival is measured on times and events")
    won, possible = _of_ones(*concordant_pairs(
        predictions.truths.astype(np.float64), predictions.events, predictions.scores[:, 0],
        predictions.sites, np.ones((1, len(predictions.truths)))))
    return PairSums(num=len(predictions.truths), won=won, possible=possible,
                    num_subjects=len(np.unique(predictions.persons())))


def _of_ones(won: Floats, possible: Floats) -> tuple[float, float]:
    return float(won[0]), float(possible[0])


def _of_errors(parts: Sequence[ErrorSums]) -> Figures:
    if not parts:
        return {"r2": None, "r2_within_sites": None, "mae": None, "pearson_r": None}
    both = merge(Moments(float(part.num), np.array(part.mean), np.array(
        [part.scatter[:2], part.scatter[1:]])) for part in parts)
    (spread, product), (_, guessed) = both.scatter.tolist()
    squared = spread - 2 * product + guessed + both.num * float(both.mean[0] - both.mean[1]) ** 2
    # Variances of rounding alone are none, by the bounds of `metrics.r2` and `metrics.pearson_r`.
    has_spread = spread > 1e-20 * both.num * (1 + float(both.mean[0]) ** 2)
    power = spread * guessed
    # Each site's scatter is about its own mean, so their sum is what is left inside sites.
    inside = np.sum([part.scatter for part in parts], axis=0)                # (3,)
    varies = inside[0] > 1e-20 * both.num * (1 + float(both.mean[0]) ** 2)
    return {"r2": 1 - squared / spread if has_spread else None,
            "r2_within_sites": 1 - float(inside @ (1, -2, 1) / inside[0]) if varies else None,
            "mae": sum(part.absolute for part in parts) / both.num,
            "pearson_r": product / math.sqrt(power) if power > 1e-30 else None}


def _share(parts: Sequence[PairSums]) -> float | None:
    possible = sum(part.possible for part in parts)
    return sum(part.won for part in parts) / possible if possible else None
