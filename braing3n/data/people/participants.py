"""What a BIDS dataset's participants.tsv and sessions.tsv say of the subjects that have scans."""

from collections.abc import Collection, Mapping
from pathlib import Path

from braing3n.data.people.codebook import Codebook, notes_of, open_codebook
from braing3n.data.people.mapping import ColumnMapping
from braing3n.data.people.notes import listed
from braing3n.data.people.rows import People, Person, join, suggest_matches
from braing3n.data.people.tables import Table, read_table
from braing3n.errors import CohortError


def read_participants(root: Path, scanned: Mapping[str, Collection[str]],
                      mapping: ColumnMapping | None) -> tuple[People, list[str]]:
    """Read participants.tsv, and say where it and the folders differ.

    Args:
        root: The dataset.
        scanned: The sessions that have scans, of each subject with scans.
        mapping: What the site says of the table's columns.

    Raises:
        CohortError: The table cannot be read, or has no column of ids.
        ConfigError: The mapping does not fit the table.
    """
    path = root / "participants.tsv"
    if not path.is_file():
        return People({}, {}), ["there is no participants.tsv: age, sex and diagnosis are unknown"]
    table = read_table(path)
    book = open_codebook(table, mapping)
    people = persons_of(table, book)
    joined = join(people)
    ids, folders = set(joined.rows), scanned.keys()
    matches = suggest_matches(ids, folders)
    notes = notes_of(table, book)
    nameless = len(table.rows) - len(people)
    if nameless:
        notes.append(f"{nameless} rows of participants.tsv name no subject; left out")
    notes += listed("ids of participants.tsv differ from the folders' names and are not joined",
                    (f"{name!r} is perhaps {folder}" for name, folder in matches.items()))
    notes += listed("subjects of participants.tsv have no scan",
                    ids - folders - matches.keys())
    notes += listed("subjects with scans are not in participants.tsv",
                    folders - ids - set(matches.values()))
    notes += listed("visits of participants.tsv have no scan",
                    (f"{subject} at {visit}" for subject in ids & folders
                     for visit in joined.unused(subject, scanned[subject])))
    notes += listed("subjects have rows in participants.tsv that differ; none is used",
                    joined.contradictory)
    return joined, notes


def read_sessions(root: Path, subject: str, scanned: Collection[str],
                  mapping: ColumnMapping | None) -> tuple[People, list[str]]:
    """Read a subject's sessions.tsv, and say which of its visits have no scan.

    A table that cannot be read is told and not used: the other subjects do not need it.

    Args:
        root: The dataset.
        subject: The folder's name.
        scanned: The subject's sessions that have scans.
        mapping: Used for the columns of the table that it names.
    """
    path = root / subject / f"{subject}_sessions.tsv"
    if not path.is_file():
        return People({}, {}), []
    try:
        table = read_table(path)
    except CohortError as error:
        return People({}, {}), [f"{path.name} is not used: {error.found}"]
    book = open_codebook(table, mapping, is_for_this=False)
    rows = ((line, book.cells(row)) for line, row in zip(table.lines, table.rows, strict=True))
    people = [Person(subject, cells["visit"].said, cells, line)
              for line, cells in rows if "visit" in cells]
    joined = join(people)
    notes = notes_of(table, book)
    if not people:
        notes.append(f"{path.name} is not used: no column session_id, or nothing in it")
    notes += listed(f"visits of {path.name} have no scan", joined.unused(subject, scanned))
    notes += listed(f"visits have rows in {path.name} that differ; none is used",
                    joined.contradictory)
    return joined, notes


def persons_of(table: Table, book: Codebook) -> list[Person]:
    """Return the rows that name a subject.

    Raises:
        CohortError: No column names the subjects.
    """
    if book.subject is None:
        raise CohortError(f"{table.path} does not say whose rows these are",
                          expected="a column participant_id", found=", ".join(table.header),
                          fix="rename the column of the ids, or name it in a mapping file")
    people = []
    for line, row in zip(table.lines, table.rows, strict=True):
        cells = book.cells(row)
        visit = cells.pop("visit", None)
        subject = book.subject_of(row)
        if subject:
            said = {name: cell for name, cell in cells.items() if name not in ("path", "modality")}
            people.append(Person(subject, visit.said if visit else None, said, line))
    return people
