"""What one site gives for a probe that is fitted from sums: each inner fold's moments by class.

Pure functions of the site's own rows. `to_message` is what may leave: it refuses sums over so few
people that they show single ones.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braing3n.errors import CohortError, ProtocolError
from braing3n.evaluation.linear_fits import merge_classes
from braing3n.evaluation.moments import Floats, Moments, moments_of, pack_symmetric, unpack_symmetric

MIN_SUBJECTS = 5
# The cell of all rows, where there are no classes.
EVERYBODY = "all"

_VERSION = 1


@dataclass(frozen=True)
class Cell:
    """The moments of one class in one fold.

    Attributes:
        moments: Of the features; of a regression, with the target as the last column.
        num_subjects: People behind them.
    """

    moments: Moments
    num_subjects: int


# By fold and class.
SiteStatistics = Mapping[tuple[int, str], Cell]


def site_statistics(columns: Floats, classes: NDArray[np.str_] | None, folds: NDArray[np.intp],
                    persons: NDArray[np.intp]) -> dict[tuple[int, str], Cell]:
    """Return the moments of each class in each fold of one site.

    Args:
        columns: (n, c) features; of a regression, with the target as the last column.
        classes: (n,), or None for a regression.
        folds: (n,).
        persons: (n,) a number for each person.
    """
    names = np.full(len(columns), EVERYBODY) if classes is None else classes
    cells = {}
    for fold in np.unique(folds):
        for name in np.unique(names[folds == fold]):
            chosen = (folds == fold) & (names == name)
            cells[int(fold), str(name)] = Cell(moments_of(columns[chosen]),
                                               len(np.unique(persons[chosen])))
    return cells


def sum_sites(sites: Sequence[SiteStatistics], num_folds: int) -> list[dict[str, Moments]]:
    """Return each fold's moments by class over all sites; a fold may have no class."""
    return [merge_classes([{name: cell.moments for (number, name), cell in site.items()
                            if number == fold} for site in sites]) for fold in range(num_folds)]


def to_message(statistics: SiteStatistics) -> tuple[str, dict[str, Floats]]:
    """Return what a site sends: a JSON header and flat float64 arrays.

    Raises:
        CohortError: A cell is of fewer than `MIN_SUBJECTS` people.
    """
    small = [cell.num_subjects for cell in statistics.values() if cell.num_subjects < MIN_SUBJECTS]
    if small:
        raise CohortError("sums over so few subjects would show single ones",
                          expected=f"at least {MIN_SUBJECTS} subjects of each class in each fold",
                          found=f"{len(small)} of {len(statistics)} sums over fewer, down to "
                                f"{min(small)}",
                          fix="use fewer folds or classes, or leave this site out of the probe")
    cells, arrays = [], {}
    for number, ((fold, name), cell) in enumerate(statistics.items()):
        cells.append({"fold": fold, "class": name, "num": cell.moments.num,
                      "num_subjects": cell.num_subjects})
        arrays[f"{number}.mean"] = cell.moments.mean
        arrays[f"{number}.scatter"] = pack_symmetric(cell.moments.scatter)
    return json.dumps({"version": _VERSION, "cells": cells}), arrays


def from_message(header: str, arrays: Mapping[str, Floats]) -> dict[tuple[int, str], Cell]:
    """Read what `to_message` gave.

    Raises:
        ProtocolError: It is something else, or its numbers are not finite.
    """
    try:
        content: dict[str, Any] = json.loads(header)
        if content["version"] != _VERSION or len(arrays) != 2 * len(content["cells"]):
            raise ValueError(f"version {content['version']} with {len(arrays)} arrays")
        found = {}
        for number, cell in enumerate(content["cells"]):
            mean, packed = arrays[f"{number}.mean"], arrays[f"{number}.scatter"]
            scatter = unpack_symmetric(packed)
            if scatter.shape != (len(mean), len(mean)) or not (
                    np.isfinite(mean).all() and np.isfinite(packed).all()):
                raise ValueError(f"a scatter of {scatter.shape} for a mean of {mean.shape}, or numbers "
                                 "that are not finite")
            found[int(cell["fold"]), str(cell["class"])] = Cell(
                Moments(float(cell["num"]), mean, scatter), int(cell["num_subjects"]))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ProtocolError("a site's sums for a probe cannot be read",
                            expected="a header and two arrays for each of its cells",
                            found=str(error) or type(error).__name__,
                            fix="run the same software version on both sides") from error
    return found
