"""Volumes with features, labels, subjects and sites, and how subjects are dealt over folds."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.fits.moments import Floats
from braing3n.evaluation.metrics import persons_of


@dataclass(frozen=True)
class LabelledSet:
    """Volumes with features and what is to be told of them. Rows are volumes.

    Attributes:
        features: (n, d) frozen features.
        values: (n,) numbers (regression, and the times of survival), or classes as text.
        subjects: (n,) pseudonyms; a person is a subject of a site.
        sites: (n,) names.
        events: (n,) of survival: whether the time is that of an event.

    Raises:
        ValueError: The arrays do not fit, or are not finite.
    """

    features: Floats
    values: NDArray[np.generic]
    subjects: NDArray[np.str_]
    sites: NDArray[np.str_]
    events: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        rows = len(self.features)
        others = (self.values, self.subjects, self.sites,
                  self.values if self.events is None else self.events)
        if self.features.ndim != 2 or any(array.shape != (rows,) for array in others):
            raise ValueError(f"features {self.features.shape}, values {self.values.shape}, subjects "
                             f"{self.subjects.shape} and sites {self.sites.shape} do not have one "
                             "row a volume each")
        if not np.isfinite(self.features).all():
            raise ValueError("features are not all finite numbers")
        if self.values.dtype.kind in "fi" and not np.isfinite(self.values).all():
            raise ValueError("values are not all finite numbers")

    def persons(self) -> NDArray[np.intp]:
        """Return (n,) a number for each person, 0 and up."""
        return persons_of(self.subjects, self.sites)

    def num_persons(self) -> int:
        """Return the number of people."""
        return len(np.unique(self.persons()))

    def only(self, chosen: NDArray[np.bool_]) -> "LabelledSet":
        """Return some of the rows."""
        return LabelledSet(self.features[chosen], self.values[chosen], self.subjects[chosen],
                           self.sites[chosen], None if self.events is None else self.events[chosen])

    def by_site(self) -> Iterator[NDArray[np.bool_]]:
        """Give (n,) the rows of each site, in the order of their names."""
        for site in np.unique(self.sites):
            yield self.sites == site


def deal_folds(data: LabelledSet, strata: NDArray[np.generic], num_folds: int,
               seed: int) -> NDArray[np.intp]:
    """Return (n,) folds: all volumes of a person in one, and each stratum evenly in all.

    A stratum's people are dealt in turn, site after site. So a site can deal its own, once it is
    told with which fold each of its strata begins; that is a sum of counts.

    Args:
        data: The volumes.
        strata: (n,) what folds shall have alike of; a person's first volume counts.
        num_folds: Number of folds.
        seed: Of the order in which people are dealt.
    """
    persons = data.persons()                                          # (n,)
    _, first = np.unique(persons, return_index=True)                  # of each person
    order = np.random.default_rng(seed).permutation(len(first))
    keys = [(str(strata[row]), str(data.sites[row])) for row in first[order]]
    dealt = order[np.array(sorted(range(len(order)), key=keys.__getitem__), dtype=np.intp)]
    folds = np.empty(len(first), dtype=np.intp)
    folds[dealt] = np.arange(len(dealt)) % num_folds
    return folds[persons]
