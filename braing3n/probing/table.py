"""What `braing3n probe` found: as a table, as JSON and as tab-separated text."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from braing3n.evaluation.metrics import Estimate
from braing3n.evaluation.probes import ProbeResult
from braing3n.evaluation.tasks import Task
from braing3n.probing.few import ProbeWarning, few_people

NO_WEIGHTS = "no weights"

_VERSION = 1
_COLUMNS = ("task", "encoder", "site", "metric", "value", "low", "high", "reason")
_EVERY_SITE = "all"


@dataclass(frozen=True)
class EncoderRow:
    """An encoder of the table.

    Attributes:
        name: As in its column.
        pooling: How a volume becomes one vector; None without weights.
        num_features: None without weights.
        weights: The digest of the weights: of ours as a run's record has it, of others' the
            file's sha256; None for none.
    """

    name: str
    pooling: str | None
    num_features: int | None
    weights: str | None


@dataclass(frozen=True)
class ProbeTable:
    """Everything that a command found.

    Attributes:
        preset: Of the grid of the volumes.
        seed: Of folds, resamples and fresh weights.
        split: Who was fitted on and who was measured on, in words.
        sites: Subjects and volumes by site.
        encoders: In the order of the columns.
        tasks: Those that were probed, by name.
        impossible: Why others were not, by name.
        results: By task and encoder; an encoder without weights has none.
    """

    preset: str
    seed: int
    split: str
    sites: Mapping[str, tuple[int, int]]
    encoders: Sequence[EncoderRow]
    tasks: Mapping[str, Task]
    impossible: Mapping[str, str]
    results: Mapping[tuple[str, str], ProbeResult]

    @property
    def warnings(self) -> tuple[ProbeWarning, ...]:
        """What makes the figures of some tasks weak."""
        # Encoders see the same people, so one of them tells for all.
        some = {task: result for (task, _), result in self.results.items()}
        return few_people({task: _num_people(result) for task, result in some.items()},
                          {task: result.num_train_subjects for task, result in some.items()})

    def as_json(self) -> dict[str, Any]:
        """Return everything but what is said of single volumes, as plain values."""
        return {
            "version": _VERSION, "preset": self.preset, "seed": self.seed, "split": self.split,
            "sites": [{"name": name, "num_subjects": subjects, "num_volumes": volumes}
                      for name, (subjects, volumes) in self.sites.items()],
            "encoders": [{**asdict(row), "status": "ok" if row.pooling else NO_WEIGHTS}
                         for row in self.encoders],
            "tasks": [{"name": name, **task.model_dump(mode="json", exclude_none=True),
                       "method": task.fitted_by} for name, task in self.tasks.items()],
            "impossible": [{"name": name, "reason": reason}
                           for name, reason in self.impossible.items()],
            "warnings": [asdict(warning) for warning in self.warnings],
            "results": [{"task": task, "encoder": encoder, **_plain(result)}
                        for (task, encoder), result in self.results.items()]}

    def as_tsv(self) -> str:
        """Return a line for each task, encoder, site (`all` together) and metric."""
        lines = ["\t".join(_COLUMNS)]
        for (task, encoder), result in self.results.items():
            for site, metrics in ((_EVERY_SITE, result.metrics), *result.by_site.items()):
                lines += ["\t".join((task, encoder, site, name, *_cells(one)))
                          for name, one in metrics.items()]
        lines += ["\t".join((task, row.name, _EVERY_SITE, "", "", "", "", NO_WEIGHTS))
                  for task in self.tasks for row in self.encoders if not row.pooling]
        return "\n".join(lines) + "\n"

    def show(self, console: Console) -> None:
        """Print the main metric of every task, and what was not probed and why."""
        table = Table(box=SIMPLE, pad_edge=False)
        for heading in ("task", "people", *(row.name for row in self.encoders)):
            table.add_column(heading)
        for name in self.tasks:
            found = {row.name: self.results.get((name, row.name)) for row in self.encoders}
            some = next(result for result in found.values() if result is not None)
            table.add_row(f"{name}\n{some.main_metric}",
                          f"{_num_people(some)}\n{len(some.predictions.truths)} scans",
                          *(NO_WEIGHTS if result is None else shown(result.main)
                            for result in found.values()))
        console.print(table)
        console.print(f"{self.split}; 95 % intervals over resampled subjects; seed {self.seed}",
                      markup=False, highlight=False)
        for warning in self.warnings:
            console.print(f"warning: {warning.detail}", markup=False, highlight=False)
        for row in self.encoders:
            console.print(f"{row.name}: {row.pooling or NO_WEIGHTS}", markup=False, highlight=False)
        for name, reason in self.impossible.items():
            console.print(f"not probed: {name}: {reason}", markup=False, highlight=False)


def shown(one: Estimate) -> str:
    """Return a figure, and on a second line its interval or why there is none."""
    if one.value is None:
        return f"none\n{one.reason or ''}"
    if one.low is None or one.high is None:
        return f"{one.value:.3f}\nno interval"
    return f"{one.value:.3f}\n{one.low:.2f}, {one.high:.2f}"


def _plain(result: ProbeResult) -> dict[str, Any]:
    return {
        "method": result.method, "main_metric": result.main_metric, "strengths": list(result.strengths),
        "num_train": result.num_train, "num_train_subjects": result.num_train_subjects,
        "num_test": len(result.predictions.truths), "num_test_subjects": _num_people(result),
        "classes": list(result.predictions.classes), "left_out": result.left_out,
        "metrics": {name: asdict(one) for name, one in result.metrics.items()},
        "by_site": {site: {name: asdict(one) for name, one in metrics.items()}
                    for site, metrics in result.by_site.items()}}


def _num_people(result: ProbeResult) -> int:
    return len(np.unique(result.predictions.persons()))


def _cells(one: Estimate) -> tuple[str, str, str, str]:
    numbers = ("" if value is None else f"{value:.6g}" for value in (one.value, one.low, one.high))
    value, low, high = numbers
    return value, low, high, one.reason or ""
