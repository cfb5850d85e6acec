"""Linear probes: how much a frozen network's features say about a label.

Everything that is fitted, also the standardisation and the strength of the ridge, is fitted on
training subjects only, and all volumes of one person are always on the same side: otherwise a
network that merely recognises people would score. What is fitted needs sums over each site's
volumes and no volume: see `site_statistics`, `logistic` and `cox`.
"""

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from braing3n.config import Method
from braing3n.errors import CohortError
from braing3n.evaluation.fits.cox import choose_cox
from braing3n.evaluation.fits.linear_fits import Chosen
from braing3n.evaluation.fits.logistic import choose_logistic
from braing3n.evaluation.fits.moments import moments_of
from braing3n.evaluation.labelled import LabelledSet, deal_folds
from braing3n.evaluation.metrics import Estimate, Kind, Predictions, estimate
from braing3n.evaluation.predicting import predict
from braing3n.evaluation.site_statistics import cells_of, fit_sums, sum_sites
from braing3n.evaluation.tasks import Task

NUM_INNER_FOLDS = 5
# Of each class, and with the event: inner folds then leave some in the rest.
LEAST_OF_A_CLASS = 5
LEAST_PEOPLE = 10

_NUM_BINS = 4  # of the values of a regression, which folds have alike of


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    Attributes:
        kind: Of the task.
        method: How it was fitted.
        strengths: What the inner folds chose; one, or one for each fold of a cross-validation.
        main_metric: What encoders are compared by; see `Task.main_metric`.
        metrics: Over all test volumes, by name; see `metrics.figures`.
        by_site: The same for each site's test volumes.
        predictions: What was said of each test volume.
        num_train: Volumes that were fitted on; of a cross-validation, all.
        num_train_subjects: People that they are of.
        left_out: Volumes of classes that too few people have, by class.
    """

    kind: Kind
    method: Method
    main_metric: str
    strengths: tuple[float, ...]
    metrics: dict[str, Estimate]
    by_site: dict[str, dict[str, Estimate]]
    predictions: Predictions
    num_train: int
    num_train_subjects: int
    left_out: dict[str, int]

    @property
    def main(self) -> Estimate:
        """The main metric's figure over all test volumes."""
        return self.metrics[self.main_metric]


def probe(task: Task, train: LabelledSet, test: LabelledSet, seed: int) -> ProbeResult:
    """Fit a probe on some people's volumes and measure it on others'.

    Args:
        task: What is to be told.
        train: What to fit on, over all sites.
        test: What to measure on; may be empty.
        seed: Of the inner folds and of the resampling of people.

    Raises:
        CohortError: Too few subjects to fit on, or a person is on both sides.
        DivergedError: An iterated fit found no minimum.
        ValueError: The sets do not fit the task.
    """
    both = set(_pairs(train)) & set(_pairs(test))
    if both:
        raise CohortError("a probe would be tested on people that it was fitted on",
                          expected="people on one side only", found=f"{len(both)} on both",
                          fix="split by subject")
    train, test, classes, left_out = _with_classes(task, train, test, LEAST_OF_A_CLASS)
    # Many small fits: waiting for each other's threads would take longer than the sums.
    with threadpool_limits(1):
        chosen = fit(task, train, classes, seed)
        predictions = _predict(task, chosen, train, test, classes, is_pooled=False)
        return _result(task, (chosen.strength,), predictions, train, left_out, seed)


def cross_validate(task: Task, data: LabelledSet, seed: int, num_folds: int = 5) -> ProbeResult:
    """Measure a probe on everybody, each by a fit that saw nobody of that person's fold.

    Scores of classes and hazards are put on the scale of the fit's own training scores before
    folds are pooled, as fits differ in intercept and strength.

    Args:
        task: What is to be told.
        data: All volumes of all sites.
        seed: Of the folds and of the resampling of people.
        num_folds: Number of folds.

    Raises:
        CohortError: Too few subjects.
        DivergedError: An iterated fit found no minimum.
        ValueError: The set does not fit the task.
    """
    data, _, classes, left_out = _with_classes(task, data, data, _least_to_deal(num_folds))
    folds = deal_folds(data, _strata(task, data), num_folds, seed)
    strengths, parts, rows = [], [], []
    with threadpool_limits(1):
        for fold in range(num_folds):
            train, test = data.only(folds != fold), data.only(folds == fold)
            chosen = fit(task, train, classes, seed)
            strengths.append(chosen.strength)
            parts.append(_predict(task, chosen, train, test, classes, is_pooled=True))
            rows.append(np.flatnonzero(folds == fold))
        order = np.argsort(np.concatenate(rows))
        predictions = Predictions(
            np.concatenate([part.scores for part in parts])[order],
            np.concatenate([part.predicted for part in parts])[order], data.values, data.events,
            data.subjects, data.sites, classes)
        return _result(task, tuple(strengths), predictions, data, left_out, seed)


def fit(task: Task, train: LabelledSet, classes: tuple[str, ...], seed: int) -> Chosen:
    """Fit a task's probe from what the sites would give, its strength chosen by inner folds.

    Raises:
        CohortError: Too few subjects, of a class or in all.
        DivergedError: An iterated fit found no minimum.
    """
    folds = deal_folds(train, _strata(task, train), NUM_INNER_FOLDS, seed)
    _check(task, train, classes, folds)
    sites = [(train.only(rows), folds[rows]) for rows in train.by_site()]
    if task.fitted_by == "logistic":
        return choose_logistic([(site.features, site.values.astype(np.str_), own)
                                for site, own in sites], classes)
    if task.fitted_by == "cox":
        return choose_cox([(site.features, site.values.astype(np.float64), _events(site), own)
                           for site, own in sites])
    return fit_sums(task, sum_sites([cells_of(task, site, own) for site, own in sites],
                                    NUM_INNER_FOLDS), classes)


def _events(data: LabelledSet) -> NDArray[np.bool_]:
    if data.events is None:
        raise ValueError("survival is fitted on times and events")
    return data.events


def _pairs(data: LabelledSet) -> list[tuple[str, str]]:
    return [(str(site), str(subject))
            for site, subject in zip(data.sites, data.subjects, strict=True)]


def _least_to_deal(num_folds: int) -> int:
    """Return the fewest people of a class of whom enough are left without any one fold."""
    return next(count for count in itertools.count(LEAST_OF_A_CLASS)
                if count - math.ceil(count / num_folds) >= LEAST_OF_A_CLASS)


def _with_classes(task: Task, train: LabelledSet, test: LabelledSet, least: int,
                  ) -> tuple[LabelledSet, LabelledSet, tuple[str, ...], dict[str, int]]:
    """Return both sets with rows of the task's classes alone, the classes, and what was left out.

    Where the task does not name its classes, they are those that `least` people to fit on have.
    """
    if task.kind != "classification":
        return train, test, (), {}
    people = Counter(str(name) for name, _ in {
        (value, person) for value, person in zip(train.values.tolist(), train.persons().tolist(),
                                                 strict=True)})
    classes = task.class_names or tuple(sorted(
        name for name, count in people.items() if count >= least))
    others = Counter(str(value) for value in train.values.tolist() if str(value) not in classes)
    if test is not train:
        others.update(str(value) for value in test.values.tolist() if str(value) not in classes)
    inside = [data.only(np.isin(data.values.astype(np.str_), classes)) for data in (train, test)]
    return inside[0], inside[1], classes, dict(others)


def _strata(task: Task, data: LabelledSet) -> NDArray[np.generic]:
    """Return (n,) what folds shall have alike of: classes, events, or quarters of the values."""
    if task.kind == "classification":
        return data.values
    if task.kind == "survival":
        return _events(data)
    values = data.values.astype(np.float64)
    if not len(values):
        return values
    edges = np.quantile(values, np.linspace(0, 1, _NUM_BINS + 1)[1:-1])
    return np.digitize(values, edges)


def _check(task: Task, train: LabelledSet, classes: tuple[str, ...],
           folds: NDArray[np.intp]) -> None:
    """Refuse what no inner fold could be chosen by.

    Raises:
        CohortError: Too few subjects.
    """
    persons = train.persons() if len(train.values) else np.zeros(0, dtype=np.intp)
    needed = {"people": (np.ones(len(persons), dtype=bool), LEAST_PEOPLE)}
    if task.kind == "classification":
        needed |= {name: (train.values == name, LEAST_OF_A_CLASS) for name in classes}
        if len(classes) < 2:
            raise _too_few(f"two classes with {LEAST_OF_A_CLASS} subjects each to fit on",
                           f"{len(classes)}")
    if task.kind == "survival":
        needed["the event"] = (_events(train), LEAST_OF_A_CLASS)
    for name, (rows, least) in needed.items():
        found = len(np.unique(persons[rows]))
        if found < least or len(np.unique(folds[rows])) < 2:
            raise _too_few(f"{least} or more subjects to fit on ({name})", str(found))


def _too_few(expected: str, found: str) -> CohortError:
    return CohortError("too few subjects for a probe", expected=expected, found=found,
                       fix="probe a larger cohort, or another task")


def _predict(task: Task, chosen: Chosen, train: LabelledSet, test: LabelledSet,
             classes: tuple[str, ...], *, is_pooled: bool) -> Predictions:
    """Return what the fit says of the test volumes.

    Args:
        task: What is told.
        chosen: The fit.
        train: What it was fitted on.
        test: The volumes.
        classes: Their names.
        is_pooled: Whether scores are to be pooled with those of other fits.
    """
    predictions = predict(chosen.model, test, classes)
    if not is_pooled or task.kind == "regression":
        return predictions
    mean, deviation = chosen.model.spread(moments_of(train.features))
    scores = (predictions.scores - mean) / np.where(deviation > 0, deviation, 1.0)
    return replace(predictions, scores=scores)


def _result(task: Task, strengths: tuple[float, ...], predictions: Predictions, train: LabelledSet,
            left_out: dict[str, int], seed: int) -> ProbeResult:
    by_site = {str(site): estimate(task.kind, predictions.only(predictions.sites == site), seed)
               for site in np.unique(predictions.sites)}
    return ProbeResult(task.kind, task.fitted_by, task.main_metric, strengths,
                       estimate(task.kind, predictions, seed), by_site, predictions,
                       len(train.values), train.num_persons(), left_out)
