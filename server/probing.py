"""The probes of a plan, after the encoder is frozen: sums from the sites, fits, and their scores."""

from collections.abc import Mapping
from typing import Any

from braing3n.errors import ProtocolError
from braing3n.evaluation.probe_wire import Numbers, joined, pack_model, unpack_cells
from braing3n.evaluation.site_statistics import EVERYBODY, Cell
from braing3n.evaluation.tasks import Task
from braing3n.probe_messages import ProbeOrder, ProbeReport, TaskReport
from server.newton_rounds import fit_by_steps
from server.probe_asking import Asking
from server.task_probe import TaskProbe


def run_probes(asking: Asking, tasks: Mapping[str, Task], width: int,
               min_sites: int) -> dict[str, Any]:
    """Fit and measure every task over the sites that take part in it.

    A site that refuses, has too few people, or does not answer as it should is left out, and a task
    that too few sites are left of is not probed: a probe is a measurement, no part of the model.

    Args:
        asking: The sites.
        tasks: By name.
        width: Of the encoder's features.
        min_sites: The plan's; a task is fitted over two sites at least.

    Returns:
        What came of it, for run.json.
    """
    probes = {name: TaskProbe(task, max(2, min_sites)) for name, task in tasks.items()}
    _gather_sums(asking, probes, width)
    for probe in probes.values():
        probe.settle()
        probe.fit_sums()
    fit_by_steps(asking, probes)
    _gather_scores(asking, {name: probe for name, probe in probes.items()
                            if probe.chosen is not None})
    return {**asking.as_json(), "tasks": {name: probe.as_json() for name, probe in probes.items()}}


def _gather_sums(asking: Asking, probes: Mapping[str, TaskProbe], width: int) -> None:
    """Ask every site for the moments of its training volumes."""
    order = ProbeOrder(phase="sums", tasks={name: one.task.digest for name, one in probes.items()})

    def read(_: str, report: ProbeReport, numbers: Numbers) -> dict[str, dict[str, Cell] | str]:
        return {name: report.tasks[name].refusal or _read_cells(
                    probe.task, report.tasks[name], width, numbers) for name, probe in probes.items()}

    names = [member.name for member in asking.strategy.members]
    answers, refused = asking.ask(dict.fromkeys(names, (order, None)), read)
    for name, probe in probes.items():
        for site in names:
            given = answers[site][name] if site in answers else refused[site]
            if isinstance(given, str):
                probe.refused[site] = given
            else:
                probe.cells[site] = given


def _read_cells(task: Task, report: TaskReport, width: int, numbers: Numbers) -> dict[str, Cell]:
    """Return a site's cells of one task.

    Raises:
        ProtocolError: They are not the task's.
    """
    has_classes = task.kind == "classification"
    known = task.class_names if has_classes else (EVERYBODY,)
    if not report.cells or (known is not None and report.cells.keys() - set(known)):
        raise _odd("cells of the task's classes")
    if task.kind == "survival" and any(not cell.num_events for cell in report.cells.values()):
        raise _odd("events")
    return unpack_cells(report.cells, task.fitted_by, width + (task.kind == "regression"), numbers)


def _gather_scores(asking: Asking, probes: Mapping[str, TaskProbe]) -> None:
    """Send each site the models that it is in, and ask what they come to on held-out volumes."""
    orders = {}
    for site in sorted({site for probe in probes.values() for site in probe.sites}):
        own = {name: probe for name, probe in probes.items() if site in probe.cells}
        order = ProbeOrder(
            phase="scores", tasks={name: probe.task.digest for name, probe in own.items()},
            classes={name: probe.classes for name, probe in own.items() if probe.classes})
        orders[site] = (order, joined(pack_model(probe.chosen.model) for probe in own.values()
                                      if probe.chosen is not None))
    if not orders:
        return
    for probe in probes.values():
        probe.exchanges += 1

    def read(_: str, report: ProbeReport, __: Numbers) -> dict[str, TaskReport]:
        for name, one in report.tasks.items():
            _check_scores(probes[name], one)
        return dict(report.tasks)

    answers, _ = asking.ask(orders, read)
    for site, reports in answers.items():
        for name, report in reports.items():
            probes[name].scores[site] = report


def _check_scores(probe: TaskProbe, report: TaskReport) -> None:
    """Refuse scores of another kind of task.

    Raises:
        ProtocolError: They are.
    """
    kind = probe.task.kind
    if (report.classes.keys() - set(probe.classes) or (report.errors and kind != "regression")
            or (report.pairs and kind != "survival")):
        raise _odd("scores of the task's kind")


def _odd(expected: str) -> ProtocolError:
    return ProtocolError("an answer about probes cannot be read", expected=expected, found="others",
                         fix="look into that site's log")
