"""Fits by Newton steps from what sites sum: which models are fitted, all at once, and which is best."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from braing3n.errors import DivergedError
from braing3n.evaluation.fits import cox, logistic
from braing3n.evaluation.fits.linear_fits import Chosen, Classes, LinearModel, merge_classes
from braing3n.evaluation.fits.moments import Floats, Moments, merge, scales_of
from braing3n.evaluation.fits.newton import Minimisation, Terms, minimisation

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Problem:
    """One model of a task.

    Attributes:
        class_name: What it tells from the rest; None in survival.
        strength: As `STRENGTHS` of the method counts it.
        left_out: The fold that it is fitted without; None for the model of all.
        centre: (d,) means of the features that it is fitted on.
        scales: (d,) what they are divided by.
        inside: What a row of the class weighs.
        outside: What a row of the rest weighs.
        penalties: (c,) of the d coefficients and, of a class, the intercept behind them.
    """

    class_name: str | None
    strength: float
    left_out: int | None
    centre: Floats
    scales: Floats
    inside: float
    outside: float
    penalties: Floats


def logistic_problems(folds: Sequence[Classes], names: Sequence[str],
                      strengths: Sequence[float] = logistic.STRENGTHS) -> list[Problem]:
    """Return every model of a logistic regression; see `fit_logistic`.

    Args:
        folds: Moments by class, of which variances are used alone; each class is in two or more.
        names: The classes.
        strengths: C.
    """
    problems = []
    for left_out in (None, *range(len(folds))):
        rest = merge_classes(fold for number, fold in enumerate(folds) if number != left_out)
        features = merge(rest[name] for name in names)
        scales = scales_of(features)
        for name in names if len(names) > 2 else names[1:]:
            inside, outside = logistic.balanced(features.num, rest[name].num)
            problems += [
                Problem(name, strength, left_out, features.mean, scales, inside, outside,
                        np.append(np.full(len(scales), 1 / strength), 0.0))
                for strength in strengths]
    return problems


def cox_problems(folds: Sequence[Moments], num_events: Sequence[int],
                 strengths: Sequence[float] = cox.STRENGTHS) -> list[Problem]:
    """Return every model of a Cox regression; see `fit_cox`.

    Args:
        folds: Moments of the features, of which variances are used alone.
        num_events: Events in each fold.
        strengths: Weight of the ridge by the number of events.
    """
    problems = []
    for left_out in (None, *range(len(folds))):
        features = merge(fold for number, fold in enumerate(folds) if number != left_out)
        events = sum(count for number, count in enumerate(num_events) if number != left_out)
        scales = scales_of(features)
        problems += [Problem(None, strength, left_out, features.mean, scales, 1.0, 1.0,
                             np.full(len(scales), strength * events)) for strength in strengths]
    return problems


class Lockstep(Generic[Key]):
    """Several minimisations, of which all ask the sites in one exchange.

    Args:
        problems: Penalties of each; all begin at 0.

    Attributes:
        asked: Coefficients at which the sum of the sites' terms is wanted; empty once all ended.
        found: Coefficients of the least loss, of those that ended well.
        failed: Those that found no minimum.
    """

    def __init__(self, problems: Mapping[Key, Floats]) -> None:
        self._running: dict[Key, Minimisation] = {
            key: minimisation(penalties, np.zeros(len(penalties)))
            for key, penalties in problems.items()}
        self.asked = {key: next(running) for key, running in self._running.items()}
        self.found: dict[Key, Floats] = {}
        self.failed: set[Key] = set()

    def take(self, terms: Mapping[Key, Terms]) -> None:
        """Go one exchange on, by the terms at all that was asked."""
        asked = {}
        for key in self.asked:
            try:
                asked[key] = self._running[key].send(terms[key])
            except StopIteration as end:
                self.found[key] = end.value
            except (DivergedError, np.linalg.LinAlgError):
                self.failed.add(key)
        self.asked = asked


def choose(problems: Sequence[Problem], found: Sequence[Floats], losses: Mapping[int, float]) -> Chosen:
    """Return the model of all folds by the strength that tells left-out folds best.

    Args:
        problems: As `logistic_problems` or `cox_problems` gave them.
        found: Each one's coefficients.
        losses: The loss on its left-out fold, by the place of each problem that has one.
    """
    errors = dict.fromkeys((problem.strength for problem in problems), 0.0)
    for place, loss in losses.items():
        errors[problems[place].strength] += loss
    best = min(errors, key=errors.__getitem__)
    chosen = [place for place, problem in enumerate(problems)
              if problem.left_out is None and problem.strength == best]
    first = problems[chosen[0]]
    columns = np.stack([found[place] for place in chosen], axis=1)          # (c, k)
    width = len(first.centre)
    intercepts = np.zeros(1) if first.class_name is None else columns[width]
    return Chosen(LinearModel.of_standardised(columns[:width], intercepts, first.centre, first.scales),
                  best, errors)
