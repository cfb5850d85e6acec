"""Who a table's rows are: joined by subject and visit, and compared with the folders of scans."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from braing3n.data.people.covariates import READ, Cell, value_of
from braing3n.data.people.names import without_float_end

Cells = dict[str, Cell]


@dataclass(frozen=True)
class Person:
    """What one row says.

    Attributes:
        subject: The id.
        visit: The session, as written; None where the row is of all of them.
        cells: By variable.
        line: Where the row is.
    """

    subject: str
    visit: str | None
    cells: Cells
    line: int


@dataclass(frozen=True)
class People:
    """What a table says of its subjects.

    Attributes:
        rows: By subject and by visit, whose `ses-` is left out.
        contradictory: The lines of rows of one subject and visit that contradict each other; what
            they say is not in `rows`.
    """

    rows: Mapping[str, Mapping[str | None, Cells]]
    contradictory: Mapping[str, tuple[int, ...]]

    def said_of(self, subject: str, session: str | None) -> Cells:
        """Return what is said of a subject at a session, or at all."""
        visits = self.rows.get(subject, {})
        own = visits.get(visit_of(session)) if session is not None else None
        named = self._named(subject)
        if session is None and len(named) == 1:
            own = visits[named[0]]  # one visit, which needs no name
        return {**visits.get(None, {}), **(own or {})}

    def unused(self, subject: str, sessions: Collection[str]) -> list[str]:
        """Return a subject's visits that are none of the sessions.

        Args:
            subject: The id.
            sessions: Those that have scans; none where folders name none.
        """
        named = self._named(subject)
        if not sessions and len(named) == 1:
            return []
        return [visit for visit in named if visit not in {visit_of(session) for session in sessions}]

    def _named(self, subject: str) -> list[str]:
        return [visit for visit in self.rows.get(subject, {}) if visit is not None]


def join(people: Iterable[Person]) -> People:
    """Join the rows of each subject and visit; where they contradict each other, none is used."""
    rows: dict[tuple[str, str | None], list[Person]] = {}
    for person in people:
        rows.setdefault((person.subject, visit_of(person.visit)), []).append(person)
    joined: dict[str, dict[str | None, Cells]] = {}
    contradictory: dict[str, tuple[int, ...]] = {}
    for (subject, visit), group in rows.items():
        cells: Cells = {}
        for person in group:
            if any(not _agree(name, cell, cells[name]) for name, cell in person.cells.items()
                   if name in cells):
                label = subject if visit is None else f"{subject} at {visit}"
                contradictory[label] = tuple(person.line for person in group)
                cells = {}
                break
            cells = {**person.cells, **cells}
        joined.setdefault(subject, {})[visit] = cells
    return People(joined, contradictory)


def visit_of(session: str | None) -> str | None:
    """Return a session without the `ses-` that folders put before it; None for none."""
    return None if not session else session.strip().removeprefix("ses-")


def suggest_matches(ids: Collection[str], folders: Collection[str]) -> dict[str, str]:
    """Return for ids that name no folder the one that each may mean: `1` may be `sub-01`.

    Only what differs in prefix, zeros, capitals, blanks or marks, where exactly one id and one
    folder are the same without them, or else have the same number at their end. Nothing is
    joined by this; a person decides.
    """
    lost, free = set(ids) - set(folders), set(folders) - set(ids)
    matches = _same(lost, free, key_of)
    rest = lost - matches.keys()
    return matches | _same(rest, free - set(matches.values()), _last_number)


def _same(ids: Collection[str], folders: Collection[str],
          key: Callable[[str], str]) -> dict[str, str]:
    """Return the ids and folders that share a key with nothing else."""
    by_key: dict[str, tuple[set[str], set[str]]] = {}
    for names, side in ((ids, 0), (folders, 1)):
        for name in names:
            by_key.setdefault(key(name), (set(), set()))[side].add(name)
    by_key.pop("", None)
    return {min(of_ids): min(of_folders) for of_ids, of_folders in by_key.values()
            if len(of_ids) == len(of_folders) == 1}


def _last_number(name: str) -> str:
    """Return the number at an id's end without leading zeros; nothing where there is none."""
    bare = without_float_end(name.strip())
    return bare[len(bare.rstrip("0123456789")):].lstrip("0")


def key_of(name: str) -> str:
    """Return what is left of an id without prefix, leading zeros, capitals, blanks and marks."""
    bare = re.sub(r"[\W_]", "", without_float_end(name.strip().casefold())).removeprefix("sub")
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", bare)


def _agree(variable: str, one: Cell, other: Cell) -> bool:
    if one.text.strip() == other.text.strip():
        return True
    value = value_of(variable, one) if variable in READ else None
    return value is not None and value == value_of(variable, other)
