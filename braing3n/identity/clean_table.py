"""A table's text without the columns that may name a person, and with ages over 89 as 89+."""

import csv
import io
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from braing3n.data.people.table_text import read_text
from braing3n.data.people.tables import column_name, read_table
from braing3n.identity.columns import ColumnHit, column_hits, said_units
from braing3n.identity.content import Kind
from braing3n.identity.fields import age_unit
from braing3n.identity.values import is_old

# Without these, nobody knows whose row it is, or which scan it is about.
_KEYS = {"participant_id", "subject", "subject_id", "path", "filename", "session_id", "session"}


@dataclass(frozen=True)
class CleanTable:
    """What became of a table.

    Attributes:
        content: The file's bytes: the same where nothing was found, else UTF-8.
        removed: Columns and what was in them.
        lost_keys: Those of them without which the table cannot be used.
    """

    content: bytes
    removed: tuple[ColumnHit, ...]
    lost_keys: tuple[str, ...]


def clean_table(path: Path) -> CleanTable:
    """Read a table in text and leave out what may name a person; all other cells stay as written.

    Raises:
        RefusedTableError: It cannot be read, or a line has more cells than the header.
        UnreadableError: The same.
        OSError: The same.
    """
    read_table(path)  # refuses lines whose cells could stand in the wrong column
    content, said = path.read_bytes(), said_units(path)
    header, *rows = [cells for _, cells in read_text(content, path.suffix)[0]
                     if any(cell.strip() for cell in cells)]
    hits = column_hits(header, rows, said)
    if not hits:
        return CleanTable(content, (), ())
    kinds = defaultdict(set)
    for hit in hits:
        kinds[hit.place].add(hit.kind)
    gone = {place for place, found in kinds.items() if found != {Kind.AGE}}
    ages = set(kinds) - gone
    keys = [hit.label for hit in hits if hit.place in gone and hit.place < len(header)
            and column_name(header[hit.place]) in _KEYS]
    units = {place: age_unit(header[place], said) or "years" for place in ages}
    lines = [header] + [
        [(("89+" if units[place] == "years" else "n/a") if place in ages and is_old(cell, units[place])
          else cell) for place, cell in enumerate(cells)] for cells in rows]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=_separator(content, header, path.suffix),
                        lineterminator="\n")
    writer.writerows([cell for place, cell in enumerate(cells) if place not in gone] for cells in lines)
    return CleanTable(text.getvalue().encode(), tuple(hits), tuple(dict.fromkeys(keys)))


def _separator(content: bytes, header: list[str], suffix: str) -> str:
    """Return what a table's cells are set apart by; tabs in a .tsv, whatever they were before."""
    if suffix.lower() == ".tsv":
        return "\t"
    lines = (line for line in content.decode("latin-1").splitlines()
             if line.strip() and not re.match(r'(ï»¿)?"?sep=', line))
    first = next(lines)
    return next((mark for mark in ",;\t" if len(header) > 1
                 and len(next(csv.reader([first], delimiter=mark))) == len(header)), ",")
