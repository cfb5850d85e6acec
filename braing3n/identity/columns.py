"""Which columns of a table may name a person, by their names and by what is in them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from braing3n.data.people.covariates import AgeUnit
from braing3n.data.people.dictionaries import read_dictionary
from braing3n.identity.content import Kind, in_order
from braing3n.identity.fields import (
    age_unit,
    is_birth_year,
    is_date,
    is_of_hospital,
    is_patient_number,
    is_time,
    kind_of_column,
)
from braing3n.identity.texts import kinds
from braing3n.identity.values import (
    fits,
    is_epoch,
    is_number_of_patient,
    is_old,
    is_old_birth_year,
    is_removed,
    is_serial_day,
    is_short_date,
)
from braing3n.identity.words import IMAGING

# Ids and paths: short labels, in which two joined words are a name.
_LABEL = re.compile(r"(participant|subject|session|patient|scan|image|file|case)?[ _-]?"
                    r"(id|ids|path|file|file[ _-]?name|subject|participant|folder|code)", re.IGNORECASE)
# Columns of tables about regions, channels and the like, whose `name` is not a person's.
_THINGS = ({"index"}, {"label"}, {"color"}, {"abbreviation"}, {"hemi"}, {"hemisphere"}, {"region"},
           {"trial_type"}, {"type", "units"}, {"x", "y", "z"})
_PERSONS = {"participant_id", "subject", "subject_id", "patient_id", "age", "sex", "gender",
            "diagnosis", "group", "session_id"}
_COMMA_NAME = re.compile(r"([^\W\d_][^\W\d_'\u2019-]+), ?([^\W\d_][^\W\d_'\u2019. -]+)")
_MEASURE = re.compile(r"[-+]?\d{0,7}([.,]\d*)?([eE][-+]?\d{1,3})?")  # too short for a date
_MIN_NAMES = 5


@dataclass(frozen=True)
class ColumnHit:
    """One column that may name a person.

    Attributes:
        place: The column's, counted from 0.
        label: Its name, or where it is if the name itself may name a person.
        kind: What is in it.
    """

    place: int
    label: str
    kind: Kind


def column_hits(header: Sequence[str], rows: Iterable[Sequence[str]],
                units: Mapping[str, str]) -> list[ColumnHit]:
    """Judge every column of a table.

    Args:
        header: The columns' names.
        rows: The cells; a row may be shorter or longer than the header.
        units: What a dictionary says that columns count in; see `said_units`.
    """
    counts: list[Counter[str]] = [Counter() for _ in header]
    for cells in rows:
        counts += [Counter() for _ in range(len(cells) - len(counts))]
        for count, cell in zip(counts, cells, strict=False):
            count[cell] += 1
    names = [name.strip() for name in header] + [""] * (len(counts) - len(header))
    is_of_persons = _is_of_persons({name.casefold() for name in names})
    return [ColumnHit(place, label_of(place, name), kind)
            for place, (name, values) in enumerate(zip(names, counts, strict=True))
            for kind in _column_kinds(name, values, is_of_persons, units)]


def said_units(path: Path) -> dict[str, str]:
    """Return what the dictionary beside a table says that its columns count in, by `column_name`."""
    return {name: said.units for name, said in read_dictionary(path)[0].items()}


def _is_of_persons(names: set[str]) -> bool:
    """Tell a table of people from one of regions, channels or electrodes."""
    has_people = not names.isdisjoint(_PERSONS) or any(
        kind_of_column(name) not in (None, Kind.NAME) for name in names)
    return has_people or not any(things <= names for things in _THINGS)


def label_of(place: int, name: str) -> str:
    """Return a column's name in quotes, or its place where the name is missing or a person's."""
    return f"column {place + 1}" if not name.strip() or kinds(name) else f"`{name.strip()}`"


def _column_kinds(name: str, counts: Counter[str], is_of_persons: bool,
                  units: Mapping[str, str]) -> tuple[Kind, ...]:
    if is_of_hospital(name):
        return ()
    told = Counter({text.strip(): count for text, count in counts.items() if not is_removed(text)})
    unit = age_unit(name, units)
    return in_order((*kinds(name), *_kinds_by_name(name, told, is_of_persons),
                     *_kinds_of_ages(name, told, unit), *_kinds_by_content(name, told)))


def _kinds_of_ages(name: str, told: Counter[str], unit: AgeUnit | None) -> Iterator[Kind]:
    if unit is not None and any(is_old(text, unit) for text in told):
        yield Kind.AGE
    # In place of ages, a program may have written what it made them of.
    if unit is not None and any(map(is_short_date, told)):
        yield Kind.DATE
    if (unit == "years" or is_birth_year(name)) and any(map(is_old_birth_year, told)):
        yield Kind.BIRTH_YEAR


def _kinds_by_name(name: str, told: Counter[str], is_of_persons: bool) -> Iterator[Kind]:
    kind = kind_of_column(name)
    if kind is not None and (is_of_persons or kind is not Kind.NAME):
        yield from {kind for text in told if fits(kind, text)}
    if is_patient_number(name) and any(map(is_number_of_patient, told)):
        yield Kind.RECORD
    if is_time(name) and _are_most(told, is_epoch):
        yield Kind.DATE
    if is_date(name) and _are_most(told, lambda text: is_serial_day(text) or is_short_date(text)):
        yield Kind.DATE


def _kinds_by_content(name: str, told: Counter[str]) -> Iterator[Kind]:
    is_label = _LABEL.fullmatch(name) is not None
    plain = {text for text in told if text.isdecimal()}
    for text in told:
        if len(text) > 3 and text not in plain and not _MEASURE.fullmatch(text):
            yield from kinds(text, is_label=is_label)
    # Eight digits can be a date by chance; a column of them cannot.
    dated = {text for text in plain if Kind.DATE in kinds(text)}
    if 2 * sum(told[text] for text in dated) >= told.total() > 0:
        yield Kind.DATE
    if len(told) >= _MIN_NAMES and len(told) == told.total() and _are_most(told, _is_comma_name, 0.8):
        yield Kind.NAME


def _is_comma_name(text: str) -> bool:
    match = _COMMA_NAME.fullmatch(text)
    return match is not None and match[1][0].isupper() and match[2][0].isupper() and (
        IMAGING.isdisjoint((match[1].casefold(), match[2].casefold())))


def _are_most(told: Counter[str], is_such: Callable[[str], bool], share: float = 0.5) -> bool:
    fitting = sum(count for text, count in told.items() if is_such(text))
    return fitting > 0 and fitting >= share * told.total()
