"""Tables of subjects, sessions or scans, as hospitals really save them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from braing3n.data.findings import Finding, RefusedTableError, finding
from braing3n.data.people import workbooks
from braing3n.data.people.names import column_name
from braing3n.data.people.table_text import Record, UnreadableError, read_text

__all__ = ["MAX_BYTES", "MAX_CELLS", "Row", "Table", "column_name", "read_table"]

# A row's cells by `column_name`, as they are written: blanks around a cell are still there.
Row = Mapping[str, str]

MAX_BYTES = 200_000_000
MAX_CELLS = 5_000_000


@dataclass(frozen=True)
class Table:
    """What a table says, each cell as it is written.

    Attributes:
        path: The file.
        header: The names of the columns as written; a column without a name is left out.
        columns: The same names as `column_name` gives them, in the same order.
        rows: One a line with text; a cell that a short line lacks is empty.
        lines: The line, or the row of the sheet, that each row begins in, counted from 1.
        remarks: What is odd about the file, though it can be read.
    """

    path: Path
    header: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    lines: tuple[int, ...]
    remarks: tuple[Finding, ...]


def read_table(path: Path) -> Table:
    """Read a table in text (tabs, commas or semicolons) or an XLSX workbook's first sheet.

    Encoding, line ends, separator and kind are told by the content. UTF-8 and whatever has a
    byte-order mark are read as such, all else as Western European, with a remark.

    Raises:
        RefusedTableError: The file is no such table, has no row, is larger than `MAX_BYTES` or
            `MAX_CELLS`, names a column twice, or has a line with more cells than columns, whose
            values could land in the wrong column.
    """
    content = _load(path)
    is_workbook = content.startswith(workbooks.MAGIC)
    try:
        records, found = (workbooks.read_workbook(content, MAX_BYTES) if is_workbook
                          else read_text(content, path.suffix))
        remarks = [finding(code, path, what) for code, what in found]
        del content
        texts = ((line, cells) for line, cells in records if any(map(str.strip, cells)))
        line, header = next(texts, (0, []))
        if not line:
            raise UnreadableError("an empty file, or blanks alone", "check that it was saved")
        return _table(path, header, texts, remarks, is_padded=not is_workbook)
    except UnreadableError as error:
        raise _refused("table-unreadable", path, error.found, error.fix) from error


def _load(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise _refused("table-unreadable", path, "no file" if not path.exists() else
                           "a folder or a device", "check the path")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _refused("table-unreadable", path, f"{size} bytes, more than {MAX_BYTES}",
                           "keep the columns of subject, age, sex and diagnosis")
        return path.read_bytes()
    except OSError as error:
        raise _refused("table-unreadable", path, error.strerror or "an error",
                       "check its permissions and the disk") from error


def _table(path: Path, header: Sequence[str], records: Iterator[Record],
           remarks: list[Finding], *, is_padded: bool) -> Table:
    """Give every cell its column's name.

    Args:
        path: The file.
        header: The names as written; some may be blank.
        records: What follows.
        remarks: What is already known of the file.
        is_padded: Whether every line ought to have as many cells as the header.
    """
    named = {place: column_name(text) for place, text in enumerate(header) if text.strip()}
    columns = list(named.values())
    counts = Counter(columns)
    # By their numbers: in a table without a line of names, the first line is of a person.
    twice = [str(place + 1) for place, name in named.items() if counts[name] > 1]
    if twice:
        raise _refused("table-columns", path, f"columns named alike: {', '.join(twice[:8])}",
                       "rename or remove one of them")
    width = max(named) + 1
    nameless = [place for place in range(width) if place not in named]
    rows, lines, short, strays = list[Row](), list[int](), list[int](), list[str]()
    for line, cells in _bounded(path, records, width):
        padded = cells + [""] * (width - len(cells))
        rows.append({name: padded[place] for place, name in named.items()})
        lines.append(line)
        strays.append("".join(padded[place].strip() for place in nameless))
        if len(cells) < width:
            short.append(line)
    if not rows:
        raise UnreadableError("a header without a row", "check that it was saved whole")
    if short and is_padded:
        remarks.append(finding("table-cells-few", path, _in_lines(short)))
    if any(strays) and not _is_index(strays):
        remarks.append(finding("table-column-nameless", path, f"{len(nameless)} of {width} columns"))
    return Table(path, tuple(header[place] for place in named), tuple(columns), tuple(rows),
                 tuple(lines), tuple(remarks))


def _bounded(path: Path, records: Iterator[Record], width: int) -> Iterator[Record]:
    """Give the records, after checking that they fit the header and the memory."""
    for number, (line, cells) in enumerate(records, start=1):
        if any(map(str.strip, cells[width:])):
            raise _refused("table-cells", path, f"{len(cells)} cells in line {line}",
                           "mend that line; if all lines have so many, a column lacks its name, or "
                           "the line of names is further down", f"{width} cells, as in the header")
        if number * width > MAX_CELLS:
            raise UnreadableError(f"more than {MAX_CELLS} cells", "leave out columns or rows")
        yield line, cells[:width]


def _is_index(cells: Sequence[str]) -> bool:
    """Tell whether a nameless column only counts the rows, as pandas and R write it."""
    return any(list(cells) == [str(n) for n in range(first, first + len(cells))] for first in (0, 1))


def _in_lines(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, lines[:8]))
    return f"line {shown}" if len(lines) == 1 else f"{len(lines)} lines: {shown}" + (
        ", ..." if len(lines) > 8 else "")


def _refused(code: str, path: Path, found: str, fix: str,
             expected: str | None = None) -> RefusedTableError:
    return RefusedTableError(finding(code, path, found, expected=expected, fix=fix))
