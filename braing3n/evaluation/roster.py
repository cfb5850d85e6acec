"""All volumes of some sites, a row each: what is known of them, and an encoder's features."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from braing3n.conditions import VARIABLES
from braing3n.config import SiteConfig, load_site_config
from braing3n.data.examples import Example, chunks
from braing3n.data.people.further import FurtherColumns, open_further
from braing3n.data.people.names import code_of
from braing3n.data.site_data import SiteData, open_site_data
from braing3n.data.splits import SIDES, Side
from braing3n.errors import ConfigError, DivergedError
from braing3n.evaluation.encoders import VolumeEncoder
from braing3n.evaluation.fits.moments import Floats
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.tasks import Columns, Task
from braing3n.presets import Preset

BATCH_SIZE = 8

Progress = Callable[[int, int], None]
_PLACES = {variable.name: place for place, variable in enumerate(VARIABLES)}


@dataclass(frozen=True)
class SiteVolumes:
    """One site's volumes.

    Attributes:
        name: The site's.
        data: Its examples and their tensors.
        further: The columns of its table.
    """

    name: str
    data: SiteData
    further: FurtherColumns


@dataclass(frozen=True)
class Row:
    """One volume.

    Attributes:
        site: Where it is.
        side: Of the site's own split.
        example: The volume.
    """

    site: SiteVolumes
    side: Side
    example: Example


@dataclass(frozen=True)
class Labels:
    """What a task asks of each row.

    Attributes:
        values: (n,) numbers, or classes as text; what is not known is NaN or empty.
        known: (n,) whether it is known.
        events: (n,) of survival.
    """

    values: NDArray[np.generic]
    known: NDArray[np.bool_]
    events: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Roster:
    """All volumes of all sites.

    Attributes:
        sites: In the order of the rows.
        rows: One a volume: of each site those to train on, then validation, then test.
    """

    sites: tuple[SiteVolumes, ...]
    rows: tuple[Row, ...]

    def labels(self, task: Task) -> Labels:
        """Return what a task asks of each row."""
        fits = [task.modality in (None, row.example.modality) for row in self.rows]
        if task.kind == "survival":
            pairs = [_survival(task, row) for row in self.rows]
            times = np.array([time for time, _ in pairs], dtype=np.float64)
            return Labels(times, np.isfinite(times) & fits,
                          np.array([happened for _, happened in pairs], dtype=bool))
        if task.kind == "regression":
            numbers = np.array([_number(task, row) for row in self.rows], dtype=np.float64)
            return Labels(numbers, np.isfinite(numbers) & fits, None)
        names = np.array([_class(task, row) or "" for row in self.rows], dtype=np.str_)
        return Labels(names, (names != "") & fits, None)

    def labelled(self, labels: Labels, features: Floats) -> tuple[LabelledSet, NDArray[np.bool_]]:
        """Return the rows whose label is known, and which of these are to be fitted on."""
        known = labels.known
        subjects = np.array([row.example.subject for row in self.rows], dtype=np.str_)
        sites = np.array([row.site.name for row in self.rows], dtype=np.str_)
        to_fit = np.array([row.side == "train" for row in self.rows])
        return LabelledSet(
            features[known], labels.values[known], subjects[known], sites[known],
            None if labels.events is None else labels.events[known]), to_fit[known]

    def features(self, encoder: VolumeEncoder, progress: Progress | None = None) -> Floats:
        """Return (n, d) features of all rows.

        Raises:
            ScanError: A volume has to be made again, and its scan has changed or is gone.
            DivergedError: Features are not finite.
        """
        parts, done = [], 0
        for site in self.sites:
            examples = [row.example for row in self.rows if row.site is site]
            for batch in chunks(examples, BATCH_SIZE):
                parts.append(encoder.embed(site.data.volumes(batch)))
                done += len(batch)
                if progress is not None:
                    progress(done, len(self.rows))
        features: Floats = torch.cat(parts).double().numpy()
        if not np.isfinite(features).all():
            raise DivergedError(f"{encoder.name} gives features that are not finite",
                                expected="finite numbers", found="NaN or infinity",
                                fix="use weights of a run that did not diverge")
        return features


def open_roster(paths: Sequence[Path], preset: Preset,
                progress: Callable[[str], Progress] | None = None) -> Roster:
    """Open the sites of some settings files.

    Args:
        paths: The sites' YAML files.
        preset: Fixes the grid of the volumes.
        progress: Gives, for a site's name, what is called with (done, all) after each volume.

    Raises:
        ConfigError: A file is wrong, or two sites have one name.
        CohortError: A site has no cohort that can be used.
    """
    configs = [load_site_config(path) for path in paths]
    names = [config.name for config in configs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError("two sites have the same name", expected="names that differ",
                          found=", ".join(twice), fix="give each site's file once")
    return roster_of([_open_site(config, preset, progress) for config in configs])


def roster_of(sites: Sequence[SiteVolumes]) -> Roster:
    """Return all volumes of sites that are open."""
    return Roster(tuple(sites), tuple(Row(site, side, example) for site in sites for side in SIDES
                               for example in _examples(site.data, side)))


def _open_site(config: SiteConfig, preset: Preset,
               progress: Callable[[str], Progress] | None) -> SiteVolumes:
    data = open_site_data(config, preset, None if progress is None else progress(config.name))
    return SiteVolumes(config.name, data, open_further(config.data))


def _examples(data: SiteData, side: Side) -> tuple[Example, ...]:
    return {"train": data.train, "validation": data.held_out, "test": data.test}[side]


def _condition(row: Row, name: str) -> float | str | None:
    """Return one of the six conditions in its own unit, or None."""
    place = _PLACES[name]
    number, variable = row.example.conditions[place], VARIABLES[place]
    if math.isnan(number):
        return None
    return variable.codes[int(number)] if variable.codes else number * variable.scale


def _cell(row: Row, names: Columns) -> str | None:
    column = row.site.further.first_of(names)
    return None if column is None else row.site.further.said(row.example.subject, column)


def _class(task: Task, row: Row) -> str | None:
    """Return the class of a row, or None where it has none of the task's."""
    if task.variable == "site":
        return row.site.name
    if task.variable is not None:
        return None if (value := _condition(row, task.variable)) is None else str(value)
    text = _cell(row, task.column or ())
    if text is None or (task.cells is None and task.classes is None):
        return text
    spellings = task.cells or {name: (name,) for name in task.classes or ()}
    return next((name for name, cells in spellings.items() if _is_one_of(text, cells)), None)


def _number(task: Task, row: Row) -> float:
    """Return the value of a row, NaN where it is not known."""
    if task.variable is not None:
        value = _condition(row, task.variable)
        return math.nan if value is None else float(value)
    return _read_number(_cell(row, task.column or ()))


def _survival(task: Task, row: Row) -> tuple[float, bool]:
    """Return the time of a row and whether the event was then; NaN where either is not known."""
    time = _read_number(_cell(row, task.time or ()))
    happened = known = True
    if task.event is not None:
        text = _cell(row, task.event)
        happened = text is not None and _is_one_of(text, task.event_is or ())
        known = happened or (text is not None and _is_one_of(text, task.no_event_is or ()))
    return (time if known and time >= 0 else math.nan), happened


def _is_one_of(text: str, cells: Columns) -> bool:
    return code_of(text) in {code_of(cell) for cell in cells}


def _read_number(text: str | None) -> float:
    """Return a cell's number, NaN where it is none; a thing like `>90` is not guessed."""
    try:
        number = float(text or "")
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan

