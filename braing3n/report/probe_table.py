"""The probes of a run as a table of words: what they came to, over all sites and at each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from braing3n.evaluation.metrics import METRIC_NAMES
from braing3n.yaml_files import LenientModel

Figures = Mapping[str, float | None]

NOT_TOLD = "-"
# The fixed words of sites, in plain ones.
_WORDS = {"policy": "not allowed by its settings", "cohort": "fewer than five people",
          "digest": "another definition of the task installed", "late": "no answer in time",
          "unreachable": "not reachable", "internal": "an error at the site",
          "protocol": "an answer that could not be used"}


class TaskRecord(LenientModel):
    """One task in run.json."""

    kind: str
    method: str
    sites: tuple[str, ...] = ()
    refused: dict[str, str] = Field(default_factory=dict)
    not_probed: str | None = None
    not_measured: str | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    by_site: dict[str, dict[str, float | None]] = Field(default_factory=dict)


class ProbesRecord(LenientModel):
    """`probes` in run.json; without tasks where the plan has none, or the run did not come so far."""

    exchanges: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    bytes_frozen: int = 0
    seconds: float = 0.0
    tasks: dict[str, TaskRecord] = Field(default_factory=dict)


@dataclass(frozen=True)
class ProbeRow:
    """One metric of one task; `each` are the figures of the sites, in their order."""

    task: str
    method: str
    metric: str
    overall: str
    each: tuple[str, ...]
    missing: str


def probe_rows(record: ProbesRecord, sites: Sequence[str]) -> list[ProbeRow]:
    """Return the rows of the table; a task that was not probed has one, with the reason."""
    rows = []
    for name, task in record.tasks.items():
        missing = "; ".join(f"{site}: {_WORDS.get(why, why)}" for site, why in task.refused.items())
        reason = task.not_probed or task.not_measured
        if reason is not None:
            rows.append(ProbeRow(name, task.method,
                                 "not measured" if task.not_probed is None else "not probed", reason,
                                 tuple(NOT_TOLD for _ in sites), missing or "none"))
            continue
        rows += [ProbeRow(name, task.method, METRIC_NAMES.get(metric, metric),
                          _figure(task.metrics, metric), tuple(
                              _figure(task.by_site.get(site, {}), metric) for site in sites),
                          missing or "none")
                 for metric in task.metrics]
    return rows


def _figure(figures: Figures, metric: str) -> str:
    value = figures.get(metric)
    return NOT_TOLD if value is None else f"{value:.3g}"
