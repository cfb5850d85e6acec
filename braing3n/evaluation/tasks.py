"""What probes are asked to tell: tasks in a flat YAML file, one a line."""

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model, model_validator

from braing3n.config import Method, Modality
from braing3n.errors import ConfigError
from braing3n.evaluation.metrics import METRICS, Kind
from braing3n.files import canonical_json, digest_bytes
from braing3n.yaml_files import StrictModel, load_yaml, parse

VariableName = Literal["age_years", "sex", "diagnosis", "modality", "severity", "field_strength",
                       "site"]

_NUMBERS = ("age_years", "severity")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_METHODS: dict[Kind, tuple[Method, ...]] = {"classification": ("ridge", "lda", "logistic"),
                                            "regression": ("ridge",), "survival": ("cox",)}

# Names of one column in several published tables: the first that a table has counts.
Columns = Annotated[tuple[str, ...], Field(min_length=1)]


class Task(StrictModel):
    """One thing that a probe is to tell.

    Attributes:
        kind: What is told: a class, a number, or how long until an event.
        variable: One of the six conditions, or the site.
        column: In its place, a column of the site's table.
        classes: Of a classification: the classes; None, and none by `cells`, is every one that
            enough people have.
        cells: Of a classification by a column: the classes, each with the cells that say it.
        time: Of survival: the column of the times until the event or until last seen.
        event: Of survival: the column that says whether it was the event; None where the table
            has the times of events alone.
        event_is: Of survival: the cells of `event` that say so.
        no_event_is: Of survival: the cells of `event` that say that it was not.
        modality: Volumes of this kind alone.
        method: How it is fitted; None is the first that the kind has: ridge, ridge or cox.
    """

    kind: Kind
    variable: VariableName | None = None
    column: Columns | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    cells: Annotated[dict[str, Columns], Field(min_length=2)] | None = None
    time: Columns | None = None
    event: Columns | None = None
    event_is: Columns | None = None
    no_event_is: Columns | None = None
    modality: Modality | None = None
    method: Method | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Task":
        mistakes = self._mistakes()
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    def _mistakes(self) -> list[str]:
        survival = self.kind == "survival"
        of_time = (self.time, self.event, self.event_is, self.no_event_is)
        found = [
            (survival and self.time is None, "survival with a `time`"),
            (survival and (self.variable is not None or self.column is not None),
             "survival by `time` and `event`, without variable and column"),
            (not survival and any(part is not None for part in of_time),
             "time and event in survival alone"),
            (not survival and (self.variable is None) == (self.column is None),
             "exactly one of variable and column"),
            (len({self.event is None, self.event_is is None, self.no_event_is is None}) > 1,
             "all of event, event_is and no_event_is, or none"),
            (self.kind != "classification" and self.class_names is not None,
             "classes in a classification alone"),
            (self.kind == "regression" and self.variable is not None
             and self.variable not in _NUMBERS, "a regression of age_years or severity"),
            (self.kind == "classification" and self.variable in _NUMBERS,
             "a classification of a variable with classes"),
            (self.cells is not None and (self.column is None or self.classes is not None),
             "cells with a column, and then no classes"),
            (self.method is not None and self.method not in _METHODS[self.kind],
             f"one of {', '.join(_METHODS[self.kind])} as the method"),
        ]
        return [text for is_wrong, text in found if is_wrong]

    @property
    def fitted_by(self) -> Method:
        """The method that is used."""
        return self.method or _METHODS[self.kind][0]

    @property
    def main_metric(self) -> str:
        """The metric that encoders are compared by.

        Of classes it is the AUC within sites, as sites differ in their patients: a model that
        tells the site would else score. The site itself, and the field strength that goes with it,
        can only be told apart over sites.
        """
        return "auc" if self.is_of_the_scanner else METRICS[self.kind][0]

    @property
    def is_of_the_scanner(self) -> bool:
        """Whether it asks where a volume was made: an encoder is no better for telling that."""
        return self.variable in ("site", "field_strength")

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes, where they are given."""
        return self.classes if self.cells is None else tuple(self.cells)

    @property
    def digest(self) -> str:
        """The sha256 of the definition."""
        return digest_bytes(canonical_json(self.model_dump(mode="json")))


def load_tasks(path: Path | None = None) -> dict[str, Task]:
    """Read tasks by name: those that come with this software, and those of a file of one's own.

    Args:
        path: A file of one's own; a task in it takes the place of one of the same name.

    Raises:
        ConfigError: With every mistake in the file.
    """
    shipped = files("braing3n.evaluation").joinpath("probe_tasks.yaml")
    tasks = _parse(load_yaml(Path(str(shipped))), "probe_tasks.yaml")
    return tasks if path is None else tasks | _parse(load_yaml(path), str(path))


def probed_tasks(names: Iterable[str]) -> dict[str, Task]:
    """Return the tasks of a plan's `probes`, of those that come with this software.

    Args:
        names: Tasks' names, each perhaps with a method behind a slash in place of its own.

    Raises:
        ConfigError: There is no such task, or it cannot be fitted so.
    """
    known = load_tasks()
    wanted = [(name, *name.partition("/")[::2]) for name in names]
    unknown = [name for name, task, _ in wanted if task not in known]
    if unknown:
        raise ConfigError("the plan's `probes` names tasks that there are not",
                          expected=f"some of {', '.join(known)}", found=", ".join(unknown),
                          fix="correct the plan")
    return {name: known[task] if not method else _fitted_by(known[task], name, method)
            for name, task, method in wanted}


def _fitted_by(task: Task, name: str, method: str) -> Task:
    content = {**task.model_dump(mode="json", exclude_none=True), "method": method}
    return parse(Task, content, f"the plan's probe {name}")


def _parse(content: dict[Any, Any], source: str) -> dict[str, Task]:
    odd = [str(name) for name in content if not _NAME.fullmatch(str(name))]
    if odd:
        raise ConfigError(f"{source} names a task in a way that files cannot",
                          expected="1 to 40 small letters, digits and hyphens",
                          found=", ".join(odd), fix="rename it")
    # A model whose fields are the tasks, so that every mistake is told by the task's own name.
    fields: dict[str, Any] = dict.fromkeys(content, (Task, ...))
    model = create_model("Tasks", __base__=StrictModel, **fields)
    checked: BaseModel = parse(model, content, source)
    return {name: getattr(checked, name) for name in content}
