"""One task's probe as it goes: which sites are in it, what they gave, what was fitted."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from braing3n.errors import DivergedError
from braing3n.evaluation.fits.linear_fits import Chosen, merge_classes
from braing3n.evaluation.fits.moments import Moments
from braing3n.evaluation.probe_wire import needs_scatter
from braing3n.evaluation.probes import NUM_INNER_FOLDS
from braing3n.evaluation.score_sums import figures_of
from braing3n.evaluation.site_statistics import EVERYBODY, Cell, fit_sums
from braing3n.evaluation.tasks import Task
from braing3n.probe_messages import TaskReport

DIVERGED = "its fit found no minimum"
TOO_FEW_HELD_OUT = "fitted, but no site has five people held out (of each class) to measure it on"


@dataclass
class TaskProbe:
    """One task's probe.

    Attributes:
        task: What is told.
        least_sites: Fewer are not fitted on.
        cells: What each site gave to fit on, by class.
        refused: Why each of the others is not in it, as one fixed word.
        classes: The classes that are told.
        chosen: The fit.
        reason: Why there is none.
        scores: What each site measured.
        exchanges: How often sites were asked with numbers of the coordinator's choice.
    """

    task: Task
    least_sites: int
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    chosen: Chosen | None = None
    reason: str | None = None
    scores: dict[str, TaskReport] = field(default_factory=dict)
    exchanges: int = 0

    @property
    def sites(self) -> list[str]:
        """The sites that it is fitted on, by name."""
        return sorted(self.cells)

    def drop(self, site: str, why: str) -> None:
        """Go on without a site."""
        if self.cells.pop(site, None) is not None:
            self.refused[site] = why

    def settle(self) -> None:
        """Choose the classes by what the sites gave, or say why there can be no probe."""
        if self.reason is not None:
            return
        if self.task.kind == "classification":
            self._choose_classes()
        if self.reason is None and len(self.cells) < self.least_sites:
            self.reason = f"{len(self.cells)} usable sites, and {self.least_sites} are needed"

    def _choose_classes(self) -> None:
        """Keep the classes that two folds have, as one is left out, and the sites that have them."""
        while True:
            folds = self.folds()
            names = self.task.class_names or sorted({name for fold in folds for name in fold})
            common = tuple(name for name in names if sum(name in fold for fold in folds) > 1)
            empty = [site for site, cells in self.cells.items() if not cells.keys() & set(common)]
            for site in empty:
                self.drop(site, "cohort")
            if not empty:
                break
        self.classes = common
        lacking = [name for name in self.task.class_names or () if name not in common]
        if lacking or len(common) < 2:
            self.reason = (f"not two sites with five people of {', '.join(lacking)}" if lacking else
                           "no two classes that two sites have five people of each")

    def fold_of(self, site: str) -> int:
        """Return the inner fold that a site is in: its own, or one of five groups of sites.

        A fit by steps has a model for each fold and strength, so that its folds are few.
        """
        number = self.sites.index(site)
        return number if needs_scatter(self.task.fitted_by) else number % NUM_INNER_FOLDS

    def folds(self) -> list[dict[str, Moments]]:
        """Return each inner fold's moments by class; of a task with classes, of those alone."""
        parts: dict[int, list[dict[str, Moments]]] = {}
        for site in self.sites:
            parts.setdefault(self.fold_of(site), []).append(
                {name: cell.moments for name, cell in self.cells[site].items()
                 if not self.classes or name in self.classes})
        return [merge_classes(parts[fold]) for fold in sorted(parts)]

    def events_by_fold(self) -> list[int]:
        """Return the number of events in each inner fold."""
        counts: dict[int, int] = {}
        for site in self.sites:
            fold = self.fold_of(site)
            counts[fold] = counts.get(fold, 0) + self.cells[site][EVERYBODY].num_events
        return [counts[fold] for fold in sorted(counts)]

    def fit_sums(self) -> None:
        """Fit ridge or discriminants; sums of numbers that make no sense give no fit."""
        if self.reason is not None or not needs_scatter(self.task.fitted_by):
            return
        try:
            with np.errstate(all="ignore"):
                self.keep(fit_sums(self.task, self.folds(), self.classes))
        except (DivergedError, np.linalg.LinAlgError, ValueError):
            self.reason = DIVERGED

    def keep(self, chosen: Chosen) -> None:
        """Keep a fit, if its numbers are finite."""
        if np.isfinite(chosen.model.weights).all() and np.isfinite(chosen.model.intercepts).all():
            self.chosen = chosen
        else:
            self.reason = DIVERGED

    def as_json(self) -> dict[str, Any]:
        """Return what came of it, as it stands in run.json; nothing of single people is in it."""
        names, kind = self.classes, self.task.kind
        metrics = {} if self.chosen is None else figures_of(
            kind, [self.scores[site] for site in sorted(self.scores)], names)
        is_blank = self.chosen is not None and not any(
            value is not None for value in metrics.values())
        return {
            "kind": kind, "method": self.task.fitted_by, "classes": list(names),
            "strength": None if self.chosen is None else self.chosen.strength,
            "sites": self.sites if self.reason is None else [],
            "refused": dict(sorted(self.refused.items())), "not_probed": self.reason,
            "not_measured": TOO_FEW_HELD_OUT if is_blank else None, "metrics": metrics,
            "by_site": {site: figures_of(kind, [self.scores[site]], names)
                        for site in sorted(self.scores)},
            "train": {site: _counts(self.cells[site], names) for site in self.sites},
            "held_out": {site: _measured(self.scores[site]) for site in sorted(self.scores)},
            "exchanges": self.exchanges,
        }


def _counts(cells: dict[str, Cell], names: tuple[str, ...]) -> dict[str, int]:
    """Return the volumes that are fitted on and their people, those of each class counted apart."""
    used = [cell for name, cell in cells.items() if not names or name in names]
    return {"volumes": sum(int(cell.moments.num) for cell in used),
            "subjects": sum(cell.num_subjects for cell in used)}


def _measured(report: TaskReport) -> dict[str, int]:
    parts = [*report.classes.values(), *filter(None, (report.errors, report.pairs))]
    return {"volumes": sum(part.num for part in parts),
            "subjects": sum(part.num_subjects for part in parts)}
