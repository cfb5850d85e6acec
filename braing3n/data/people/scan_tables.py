"""The scans that a table lists, one row a scan, and what its rows say of them."""

import os
from pathlib import Path

from braing3n.data.bids import BidsScan
from braing3n.data.people.codebook import Codebook, notes_of, open_codebook
from braing3n.data.people.covariates import modality_of
from braing3n.data.people.mapping import ColumnMapping
from braing3n.data.people.notes import listed
from braing3n.data.people.rows import Cells, Person, join
from braing3n.data.people.tables import Table, read_table
from braing3n.errors import CohortError

# What a row says of a person, and of a person at a visit; all else it says of one scan.
_OF_A_PERSON = ("sex",)
_OF_A_VISIT = ("age_years", "diagnosis", "severity")


def read_scan_table(path: Path, mapping: ColumnMapping | None,
                    ) -> tuple[list[tuple[BidsScan, Cells]], list[str]]:
    """Read a table of scans.

    Returns:
        Each scan with what is said of it, and what was left out or contradicts itself.

    Raises:
        CohortError: The table cannot be read, has no columns of subjects and paths, or no row
            with both.
        ConfigError: The mapping does not fit the table.
    """
    table = read_table(path)
    book = open_codebook(table, mapping)
    if book.subject is None or not book.readings["path"]:
        raise CohortError(f"{path} does not list scans",
                          expected="the columns subject and path, and one row a scan",
                          found=f"the columns {', '.join(table.header)}",
                          fix="rename the columns, or name them in a mapping file; see "
                              "site_configs/example.yaml")
    scans, notes = _scans(table, book)
    if not scans:
        raise CohortError(f"{path} names no scan", expected="one row a scan", fix="fill them in",
                          found=f"{len(table.rows)} rows without subject and path")
    people = join(person for scan, cells, line in scans for person in _persons(scan, cells, line))
    notes += notes_of(table, book) + listed(
        f"subjects have rows in {path.name} that differ; what these say is not used",
        people.contradictory)
    return [(scan, _of_scan(cells) | people.said_of(scan.subject, _visit(scan)))
            for scan, cells, _ in scans], notes


def _scans(table: Table, book: Codebook) -> tuple[list[tuple[BidsScan, Cells, int]], list[str]]:
    """Return the scans with their rows' cells and lines, and what is wrong with the other rows."""
    scans, notes = list[tuple[BidsScan, Cells, int]](), list[str]()
    owners: dict[Path, str] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        cells = book.cells(row)
        subject = book.subject_of(row).strip()
        if not subject or "path" not in cells:
            notes.append(f"line {line} of {table.path.name} names no subject or no path; left out")
            continue
        said = cells.pop("path").said.strip()
        path = table.path.parent / said
        if (file := _file_of(path)) in owners:
            notes.append(f"{said} is listed twice; only its first row, of {owners[file]}, is used")
            continue
        owners[file] = subject
        visit = cells.pop("visit", None)
        modality = cells.pop("modality", None)
        named = modality.said if modality else path.name.partition(".")[0].rpartition("_")[2]
        scan = BidsScan(path, subject, visit.said.strip() if visit else None,
                        modality_of(named, contrast="_ce-" in path.name) or "unknown")
        scans.append((scan, cells, line))
    return scans, notes


def listed_again(table: Table, book: Codebook) -> dict[Path, list[tuple[int, str]]]:
    """Return the lines and subjects of each scan with several rows, by its path as first written."""
    rows: dict[Path, list[tuple[int, str]]] = {}
    names: dict[Path, Path] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        subject, cell = book.subject_of(row).strip(), book.cells(row).get("path")
        if subject and cell is not None:
            path = table.path.parent / cell.said.strip()
            rows.setdefault(names.setdefault(_file_of(path), path), []).append((line, subject))
    return {path: found for path, found in rows.items() if len(found) > 1}


def _file_of(path: Path) -> Path:
    """Return the file itself, whatever links lead to it, also where they lead in a circle."""
    return Path(os.path.realpath(path))


def _persons(scan: BidsScan, cells: Cells, line: int) -> tuple[Person, Person]:
    """Return what a row says of a person at all, and at the scan's visit."""
    return (Person(scan.subject, None, {k: v for k, v in cells.items() if k in _OF_A_PERSON}, line),
            Person(scan.subject, _visit(scan),
                   {k: v for k, v in cells.items() if k in _OF_A_VISIT}, line))


def _of_scan(cells: Cells) -> Cells:
    return {k: v for k, v in cells.items() if k not in _OF_A_PERSON + _OF_A_VISIT}


def _visit(scan: BidsScan) -> str:
    """Return what stands for a scan's visit: its name, or the file where it has none."""
    return scan.session or str(scan.path)
