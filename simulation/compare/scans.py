"""All sites' scans in one order, and what probes are to tell of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braing3n.conditions import VARIABLES
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.tasks import Task

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Scans:
    """One row a scan: site after site, those that are trained on before those held out.

    Attributes:
        sites: (n,) the site that trains on it.
        subjects: (n,) pseudonyms.
        conditions: (n, 6) as `Conditions.encode` gives them.
        is_test: (n,) whether its subject is held out.
    """

    sites: NDArray[np.str_]
    subjects: NDArray[np.str_]
    conditions: Floats
    is_test: NDArray[np.bool_]

    def known(self, task: Task) -> NDArray[np.bool_]:
        """Return (n,) which scans a task is about: its modality, its classes, its variable known."""
        about = np.ones(len(self.sites), dtype=bool)
        if task.modality is not None:
            about &= self._column("modality") == task.modality
        values = self.values(task)
        if task.class_names is not None:
            about &= np.isin(values, task.class_names)
        known: NDArray[np.bool_] = about & (np.isfinite(values) if values.dtype.kind == "f"
                                            else values != "")
        return known

    def same_as(self, tasks: Mapping[str, Task]) -> dict[str, str]:
        """Return which tasks ask here what an earlier one asks, by name: they count once.

        Where all scans are T1w, for example, age is asked of the same scans as age from T1w.
        """
        first, same = dict[tuple[Any, ...], str](), dict[str, str]()
        for name, task in tasks.items():
            known = self.known(task)
            key = (task.kind, task.fitted_by, known.tobytes(), tuple(self.values(task)[known].tolist()))
            if first.setdefault(key, name) != name:
                same[name] = first[key]
        return same

    def values(self, task: Task) -> NDArray[np.generic]:
        """Return (n,) what a task asks for: numbers with NaN, or classes with empty texts.

        Raises:
            ValueError: The task is about a column of a site's own table.
        """
        if task.variable is None:
            raise ValueError("a comparison knows the six conditions and the site alone")
        return self.sites if task.variable == "site" else self._column(task.variable)

    def labelled(self, task: Task, features: Floats, rows: NDArray[np.bool_]) -> LabelledSet:
        """Return some rows with features and what the task asks for."""
        return LabelledSet(features[rows].astype(np.float64), self.values(task)[rows],
                           self.subjects[rows], self.sites[rows])

    def _column(self, name: str) -> NDArray[np.generic]:
        number = [variable.name for variable in VARIABLES].index(name)
        variable, encoded = VARIABLES[number], self.conditions[:, number]
        if not variable.codes:
            return encoded * variable.scale
        return np.array([variable.codes[int(code)] if np.isfinite(code) else "" for code in encoded])
