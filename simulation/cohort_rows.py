"""The scans or rows of a cohort, each with its subject and the site where it was made."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from braing3n.conditions import Conditions
from braing3n.config import DataConfig
from braing3n.data.cohort import open_cohort
from braing3n.data.people.codebook import notes_of, open_codebook
from braing3n.data.people.covariates import understand
from braing3n.data.people.mapping import ColumnMapping
from braing3n.data.people.tables import read_table
from braing3n.errors import CohortError
from simulation.definitions import CohortDefinition

# A number that a program has made of a code.
_FLOAT = re.compile(r"([0-9]+)\.0+")


@dataclass(frozen=True)
class CohortRow:
    """One scan, or one row of a table that lists no scans.

    Attributes:
        subject: Whose it is.
        session: The visit, or None.
        site: Where it was made, as it is spelled; None where that is not told.
        conditions: What is known of it.
        path: The scan; None for a row without.
    """

    subject: str
    session: str | None
    site: str | None
    conditions: Conditions
    path: Path | None = None


@dataclass(frozen=True)
class CohortRows:
    """What was read of a cohort.

    Attributes:
        rows: In the order of the table or of the names of files.
        notes: What was left aside or not understood.
        repeated: Ids with several rows that name no visit, in a table of people.
    """

    rows: tuple[CohortRow, ...]
    notes: tuple[str, ...]
    repeated: tuple[str, ...] = ()


def read_cohort(source: Path, definition: CohortDefinition) -> CohortRows:
    """Read a BIDS folder, a table of scans or a table of people by a cohort's definition.

    A folder that holds a table of people and no scan yet is read by the table.

    Raises:
        CohortError: There is nothing to read, or it cannot be read.
        ConfigError: The definition does not fit the table.
    """
    if source.is_dir():
        table = source / "participants.tsv"
        try:
            return _of_folder(source, table if table.is_file() else None, definition)
        except CohortError as error:
            if not table.is_file():
                raise
            read = _of_table(table, definition)
            why = f"{error.what}: rows of {table.name} count as scans"
            return replace(read, notes=(why, *read.notes))
    if not source.is_file():
        raise CohortError(f"{source} is not there", expected="a BIDS folder or a table",
                          found="nothing", fix="correct the path")
    return _of_table(source, definition)


def _of_folder(source: Path, table: Path | None, definition: CohortDefinition) -> CohortRows:
    header = () if table is None else read_table(table).header
    mapping = definition.mapping(("participant_id", *header))
    cohort = open_cohort(DataConfig(folder=source), mapping)
    rows = [CohortRow(volume.subject, volume.session, _named(volume.site, definition),
                      volume.conditions, volume.path) for volume in cohort.volumes]
    return CohortRows(tuple(rows), cohort.notes)


def _of_table(source: Path, definition: CohortDefinition) -> CohortRows:
    table = read_table(source)
    mapping = definition.mapping(table.header)
    book = open_codebook(table, mapping)
    if book.readings["path"]:
        cohort = open_cohort(DataConfig(table=source), mapping)
        rows = [CohortRow(volume.subject, volume.session, _named(volume.site, definition),
                          volume.conditions, volume.path) for volume in cohort.volumes]
        return CohortRows(tuple(rows), cohort.notes)
    rows, seen, repeated = list[CohortRow](), set[tuple[str, str | None]](), dict[str, None]()
    for row in table.rows:
        subject, cells = book.subject_of(row).strip(), book.cells(row)
        if not subject:
            continue
        visit = cells.pop("visit", None)
        session = visit.said.strip() if visit is not None else None
        if (subject, session) in seen:
            repeated[subject] = None
        seen.add((subject, session))
        site = cells.pop("site", None)
        modality = cells.pop("modality", None)
        conditions, _ = understand(cells, modality.said if modality is not None else None)
        told = site.said if site is not None else _matched(mapping, subject, session)
        rows.append(CohortRow(subject, session, _named(told, definition), conditions))
    nameless = len(table.rows) - len(rows)
    notes = notes_of(table, book) + ([f"{nameless} rows name no subject; left out"] if nameless else [])
    return CohortRows(tuple(rows), tuple(notes), tuple(repeated))


def _matched(mapping: ColumnMapping, subject: str, session: str | None) -> str | None:
    return None if mapping.site is None else mapping.site.matched(subject, session, "")


def _named(site: str | None, definition: CohortDefinition) -> str | None:
    """Return the site's name, without the `.0` that programs put behind a number."""
    if definition.single_site is not None:
        return definition.single_site
    if site is None or not site.strip():
        return None
    number = _FLOAT.fullmatch(site.strip())
    return number[1] if number else site
