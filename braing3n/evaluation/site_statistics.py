"""What one site gives for a probe that is fitted from sums: each inner fold's moments by class.

Pure functions of the site's own rows. Which of these sums may leave is in `site_answers`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.fits.linear_fits import (
    Chosen,
    Classes,
    choose_class_ridge,
    choose_discriminant,
    choose_ridge,
    merge_classes,
)
from braing3n.evaluation.fits.moments import Floats, Moments, moments_of
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.tasks import Task

# The cell of all rows, where there are no classes.
EVERYBODY = "all"


@dataclass(frozen=True)
class Cell:
    """The moments of one class in one fold.

    Attributes:
        moments: Of the features; of a regression, with the target as the last column.
        num_subjects: People behind them.
        num_events: Of survival: volumes whose time is that of an event.
    """

    moments: Moments
    num_subjects: int
    num_events: int = 0


# By fold and class.
SiteStatistics = Mapping[tuple[int, str], Cell]


def cells_of(task: Task, site: LabelledSet, folds: NDArray[np.intp]) -> dict[tuple[int, str], Cell]:
    """Return the moments that a task's fit needs of a site, by fold and class.

    Args:
        task: What is told.
        site: One site's volumes.
        folds: (n,).
    """
    if task.kind == "classification":
        return site_statistics(site.features, site.values.astype(np.str_), folds, site.persons())
    columns = site.features if task.kind == "survival" else np.column_stack(
        [site.features, site.values.astype(np.float64)])
    return site_statistics(columns, None, folds, site.persons(), site.events)


def site_statistics(columns: Floats, classes: NDArray[np.str_] | None, folds: NDArray[np.intp],
                    persons: NDArray[np.intp], events: NDArray[np.bool_] | None = None,
                    ) -> dict[tuple[int, str], Cell]:
    """Return the moments of each class in each fold of one site.

    Args:
        columns: (n, c) features; of a regression, with the target as the last column.
        classes: (n,), or None where there are none.
        folds: (n,).
        persons: (n,) a number for each person.
        events: (n,) of survival.
    """
    names = np.full(len(columns), EVERYBODY) if classes is None else classes
    happened = np.zeros(len(columns), dtype=bool) if events is None else events
    cells = {}
    for fold in np.unique(folds):
        for name in np.unique(names[folds == fold]):
            chosen = (folds == fold) & (names == name)
            cells[int(fold), str(name)] = Cell(moments_of(columns[chosen]),
                                               len(np.unique(persons[chosen])),
                                               int(happened[chosen].sum()))
    return cells


def sum_sites(sites: Sequence[SiteStatistics], num_folds: int) -> list[dict[str, Moments]]:
    """Return each fold's moments by class over all sites; a fold may have no class."""
    return [merge_classes([{name: cell.moments for (number, name), cell in site.items()
                            if number == fold} for site in sites]) for fold in range(num_folds)]


def fit_sums(task: Task, folds: Sequence[Classes], classes: tuple[str, ...]) -> Chosen:
    """Fit a task's ridge or discriminants from the moments of each fold over all sites."""
    if task.kind == "regression":
        return choose_ridge([fold[EVERYBODY] for fold in folds if fold])
    return (choose_discriminant if task.fitted_by == "lda" else choose_class_ridge)(folds, classes)
