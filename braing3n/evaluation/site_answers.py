"""What one site answers when it is asked for a probe's sums, and the rules of what may leave."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from braing3n.errors import ProtocolError
from braing3n.evaluation.fits.cox import cox_terms
from braing3n.evaluation.fits.logistic import logistic_terms
from braing3n.evaluation.fits.moments import Floats
from braing3n.evaluation.fits.newton import Terms
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.predicting import predict
from braing3n.evaluation.probe_wire import (
    Numbers,
    joined,
    needs_scatter,
    pack_cells,
    pack_terms,
    size_of_terms,
    unpack_model,
)
from braing3n.evaluation.score_sums import report_scores
from braing3n.evaluation.site_statistics import cells_of
from braing3n.evaluation.tasks import Task
from braing3n.probe_messages import (
    MAX_NUMBERS,
    MIN_SUBJECTS,
    CellReport,
    ModelOrder,
    ProbeOrder,
    TaskReport,
)

Answer = tuple[dict[str, TaskReport], Floats]


@dataclass(frozen=True)
class SiteTask:
    """A task that a site takes part in.

    Attributes:
        task: As the site has it installed.
        train: Its training volumes whose label is known.
        held_out: Those of validation and test subjects.
    """

    task: Task
    train: LabelledSet
    held_out: LabelledSet


def answer_sums(tasks: Mapping[str, SiteTask]) -> Answer:
    """Return the moments of each class with five people or more, and the array of them."""
    reports, parts = {}, []
    for name, own in tasks.items():
        rows = _enough(own)
        if not len(rows.values):
            reports[name] = TaskReport(refusal="cohort")
            continue
        cells = {kind: cell for (_, kind), cell in cells_of(
            own.task, rows, np.zeros(len(rows.values), dtype=np.intp)).items()}
        reports[name] = TaskReport(cells={
            kind: CellReport(num=int(cell.moments.num), num_subjects=cell.num_subjects,
                             num_events=cell.num_events) for kind, cell in cells.items()})
        parts.append(pack_cells(cells, own.task.fitted_by))
    return reports, joined(parts)


def answer_terms(order: ProbeOrder, numbers: Numbers, tasks: Mapping[str, SiteTask],
                 width: int) -> Answer:
    """Return the loss of each model that is asked for, and its derivatives where they are.

    Args:
        order: The models.
        numbers: Centres and scales, then coefficients.
        tasks: Those that this site takes part in; models of others are passed over.
        width: Of the features.

    Raises:
        ProtocolError: The order asks for too much, or is not whole.
    """
    _check_size(order, width)
    frames = [(numbers.take(width), numbers.take(width)) for _ in range(order.num_frames)]
    if any((scales <= 0).any() for _, scales in frames):
        raise _odd("scales above 0", "others")
    rows = {name: _inside(_enough(own), order.classes.get(name, ())) for name, own in tasks.items()}
    parts = []
    for model in order.models:
        coefficients = numbers.take(width + (model.class_name is not None))
        if model.task not in tasks:
            continue
        if needs_scatter(tasks[model.task].task.fitted_by):
            raise _odd("a task that is fitted by steps", tasks[model.task].task.fitted_by)
        if (tasks[model.task].task.kind == "survival") != (model.class_name is None):
            raise _odd("a class in a classification alone", "another model")
        if not len(rows[model.task].values):
            continue
        centre, scales = frames[model.frame]
        terms = _terms(model, rows[model.task], centre, scales, coefficients)
        parts.append(pack_terms(terms, has_derivatives=model.wants == "derivatives"))
    reports = {name: TaskReport(refusal=None if len(rows[name].values) else "cohort")
               for name in tasks}
    return reports, joined(parts)


def answer_scores(order: ProbeOrder, numbers: Numbers, tasks: Mapping[str, SiteTask],
                  width: int) -> Answer:
    """Return what each task's model comes to on held-out volumes; see `report_scores`.

    Args:
        order: The tasks, in the order in which their models come, and their classes.
        numbers: The models.
        tasks: Those that this site takes part in.
        width: Of the features.

    Raises:
        ProtocolError: The order is not whole.
    """
    reports = {}
    for name in order.tasks:
        classes = order.classes.get(name, ())
        model = unpack_model(width, len(classes) if len(classes) > 2 else 1, numbers)
        if name not in tasks:
            continue
        task, held_out = tasks[name].task, tasks[name].held_out
        if (task.kind == "classification") != (len(set(classes)) > 1):
            raise _odd("two or more classes of a classification", f"{len(classes)}")
        rows = _inside(held_out, classes)
        reports[name] = (report_scores(task.kind, predict(model, rows, classes))
                         if len(rows.values) else TaskReport())
    return reports, np.zeros(0)


def _enough(own: SiteTask) -> LabelledSet:
    """Return the training rows that sums may be of: of five people, of each class, or none."""
    data = own.train
    if own.task.kind != "classification":
        counted = data if data.events is None else data.only(data.events)
        return data.only(np.full(len(data.values), _people(counted) >= MIN_SUBJECTS))
    known = set(own.task.class_names or np.unique(data.values).tolist())
    given = [name for name in known if _people(data.only(data.values == name)) >= MIN_SUBJECTS]
    return data.only(np.isin(data.values, given))


def _inside(data: LabelledSet, classes: tuple[str, ...]) -> LabelledSet:
    """Return the rows of the classes, or all where there are none."""
    return data.only(np.isin(data.values.astype(np.str_), classes)) if classes else data


def _people(data: LabelledSet) -> int:
    return data.num_persons() if len(data.values) else 0


def _terms(model: ModelOrder, rows: LabelledSet, centre: Floats, scales: Floats,
           coefficients: Floats) -> Terms:
    features = (rows.features - centre) / scales
    if rows.events is not None:
        return cox_terms(features, rows.values.astype(np.float64), rows.events, coefficients)
    positive = rows.values.astype(np.str_) == model.class_name
    return logistic_terms(features, positive, np.where(positive, model.inside, model.outside),
                          coefficients)


def _check_size(order: ProbeOrder, width: int) -> None:
    """Refuse an order whose answer would be larger than a message may be."""
    if any(model.frame >= order.num_frames or model.task not in order.tasks
           for model in order.models):
        raise _odd("models of the tasks and frames that are announced", "others")
    size = sum(size_of_terms(width + 1, has_derivatives=model.wants == "derivatives")
               for model in order.models)
    if size > MAX_NUMBERS:
        raise _odd(f"models whose terms are at most {MAX_NUMBERS} numbers", str(size))


def _odd(expected: str, found: str) -> ProtocolError:
    return ProtocolError("the coordinator asks for sums that a site does not give", expected=expected,
                         found=found, fix="ask the coordinator")
