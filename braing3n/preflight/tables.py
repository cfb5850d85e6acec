"""Tables of people: whether they can be read, joined with the scans, and understood."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from braing3n.data.findings import Finding, RefusedTableError, finding
from braing3n.data.people.codebook import Codebook, open_codebook
from braing3n.data.people.covariates import is_missing
from braing3n.data.people.mapping import ColumnMapping
from braing3n.data.people.participants import persons_of
from braing3n.data.people.rows import Person, join, key_of, suggest_matches
from braing3n.data.people.scan_tables import listed_again
from braing3n.data.people.tables import Table, read_table
from braing3n.errors import ConfigError
from braing3n.listing import first_of
from braing3n.preflight.cells import cell_findings
from braing3n.preflight.groups import group_findings

# In BIDS, a table whose name has an entity describes one run, atlas or recording, except for these,
# which describe people, their visits and their scans.
_OF_A_RUN = re.compile(r"(?:.*_)?[a-z]+-[a-z0-9+]+_(?!(?:participants|sessions|scans)\.)[^_]+\.tsv",
                       re.IGNORECASE)
# Columns that are hardly ever of a table of people, though others of it may look so.
_NO_PEOPLE = {"onset", "index", "filename"}


def table_findings(path: Path, mapping: ColumnMapping | None = None) -> list[Finding]:
    """Look at one table by itself.

    Args:
        path: Any table. Events and other recordings of one run have no findings, and tables that
            are not of people none about their cells.
        mapping: Used for the columns that the table has.

    Returns:
        At most one finding a rule. They show cells of age, sex, site, diagnosis, severity and
        field strength, but no age over 89; of other columns only spellings of missing.
    """
    if _OF_A_RUN.fullmatch(path.name):
        return []
    try:
        table = read_table(path)
    except RefusedTableError as error:
        return [error.finding]
    book = open_codebook(table, mapping, is_for_this=False)
    found = list(table.remarks)
    if _is_of_people(table, book):
        people = [Person(book.subject_of(row), None, book.cells(row), line)
                  for line, row in zip(table.lines, table.rows, strict=True)]
        found += [*_names(table, book), *_codes(table, book), *cell_findings(table, book, people),
                  *group_findings(path, people)]
    return found


def listing_findings(path: Path, mapping: ColumnMapping | None = None) -> list[Finding]:
    """Look for scans that a table of scans lists more than once.

    Args:
        path: The table.
        mapping: How its columns are named.

    Returns:
        One finding a scan; none about a table that cannot be used, which others tell.
    """
    try:
        table = read_table(path)
        again = listed_again(table, open_codebook(table, mapping))
    except (RefusedTableError, ConfigError):
        return []
    return [finding("scan-twice" if len({subject for _, subject in rows}) == 1 else "scan-of-two",
                    scan, "in lines " + first_of([str(line) for line, _ in rows]))
            for scan, rows in again.items()]


def cohort_findings(root: Path, scanned: Collection[str], mapping: ColumnMapping | None = None,
                    imaged: Collection[str] = ()) -> list[Finding]:
    """Compare a table of people with the subjects that have scans.

    Args:
        root: A BIDS dataset, whose participants.tsv is meant; or a table.
        scanned: The subjects with scans, named as their folders are.
        mapping: How the table's columns are named, and how its ids become names of folders.
        imaged: The subjects whose folders hold images of other kinds than scans.

    Returns:
        At most one finding a rule; none about a table that cannot be read, which `table_findings`
        tells.
    """
    path = root / "participants.tsv" if root.is_dir() else root
    if not path.is_file():
        # Loose files need no table; a dataset with folders of subjects does.
        is_dataset = any(entry.name.startswith("sub-") and entry.is_dir() for entry in root.iterdir())
        return [finding("table-missing", path, _instead(path))] if is_dataset else []
    try:
        table = read_table(path)
        book = open_codebook(table, mapping)
    except RefusedTableError:
        return []
    except ConfigError as error:
        return [finding("table-columns", path, error.found, expected=error.expected, fix=error.fix)]
    if book.subject is None:
        is_headless = any(name.strip() in scanned for name in table.header)
        return [finding("table-columns", path, "no line of names; the first is of a subject"
                        if is_headless else "no column of ids among " + first_of(table.header),
                        expected="a column participant_id")]
    return _joined(table, book, set(scanned), set(imaged))


def _joined(table: Table, book: Codebook, scanned: set[str], imaged: set[str]) -> list[Finding]:
    people = persons_of(table, book)
    joined = join(people)
    ids = set(joined.rows)
    lines = {person.subject: person.line for person in people}
    matches = suggest_matches(ids, scanned)
    taken = {key_of(name): name for name in ids & scanned}
    again = {name: taken[key_of(name)] for name in ids - scanned - matches.keys()
             if key_of(name) in taken}
    told = {name: _told(name, lines.get(name, 0)) for name in ids}
    without = ids - scanned - matches.keys() - again.keys()
    found = {
        "id-mismatch": [f"{told[name]} -> {folder}" for name, folder in sorted(matches.items())],
        "row-without-scan": sorted(told[name] for name in without - imaged),
        "row-without-anatomy": sorted(told[name] for name in without & imaged),
        "scan-without-row": sorted(scanned - ids - set(matches.values())),
        "id-twice": [f"{label if _has_digit(label) else 'a subject'} (lines "
                     f"{', '.join(map(str, lines[:8]))})"
                     for label, lines in joined.contradictory.items()]
        + [f"{told[name]} beside {folder}" for name, folder in sorted(again.items())],
        "row-twice": _repeated(people, joined.contradictory),
    }
    findings = [finding(code, table.path, first_of(names)) for code, names in found.items() if names]
    nameless = sorted(set(table.lines) - {person.line for person in people})
    if nameless:
        findings.append(finding("row-without-id", table.path,
                                "line " + first_of([str(line) for line in nameless])))
    return findings


def _told(name: str, line: int) -> str:
    """Return an id to be read by a person; only its line if it may be a name rather than an id."""
    if not _has_digit(name):
        return f"an id without a digit (line {line})"
    return name if name == name.strip() else repr(name)


def _has_digit(name: str) -> bool:
    return any(mark.isdigit() for mark in name)


def _repeated(people: Sequence[Person], contradictory: Collection[str]) -> list[str]:
    """Return the lines of rows that say once more what another says."""
    groups: dict[tuple[str, str | None], list[int]] = {}
    for person in people:
        groups.setdefault((person.subject, person.visit), []).append(person.line)
    return [f"lines {', '.join(map(str, lines[:8]))}" for (subject, _), lines in groups.items()
            if len(lines) > 1 and subject not in contradictory]


def _is_of_people(table: Table, book: Codebook) -> bool:
    """Tell whether a table is about people: it names them, or their ages or sexes."""
    return not _NO_PEOPLE & set(table.columns) and (
        book.subject is not None or any(book.readings[name] for name in ("age_years", "sex")))


def _names(table: Table, book: Codebook) -> list[Finding]:
    """Find names of columns that are understood though they are not written plainly."""
    used = {reading.column for readings in book.readings.values() for reading in readings}
    used |= {book.subject} if book.subject is not None else set()
    odd = [repr(text) for text, column in zip(table.header, table.columns, strict=True)
           if text != text.strip() or (column in used and text != column)]
    return [finding("table-column-name", table.path, first_of(odd))] if odd else []


def _codes(table: Table, book: Codebook) -> list[Finding]:
    """Find numbers of which a dictionary says the same; a mapping file may mean them so."""
    alike = []
    for variable in ("sex", "diagnosis") if book.mapping is None else ():
        for reading in book.readings[variable]:
            numbers: dict[str, list[str]] = {}
            for code, meaning in reading.codes.items():
                if re.fullmatch(r"-?[0-9]{1,4}", code) and not is_missing(meaning):
                    numbers.setdefault(meaning.strip().casefold(), []).append(code)
            alike += [f"{' and '.join(sorted(codes))} of {variable}"
                      for codes in numbers.values() if len(codes) > 1]
    return [finding("codes-alike", table.path, first_of(alike))] if alike else []


def _instead(path: Path) -> str:
    """Say what is there in place of participants.tsv."""
    if path.exists():
        return "a folder of this name" if path.is_dir() else "a pipe or a device of this name"
    near = sorted(other.name for other in path.parent.iterdir()
                  if re.fullmatch(r"participants?.*\.(tsv|csv|xlsx|txt)", other.name, re.IGNORECASE))
    return f"{', '.join(near)}, which is not read" if near else "no such file"
