"""Every cell of a table's file, also where no reader of subjects looks, such as other sheets."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import openpyxl

from braing3n.data.people.table_text import Record, UnreadableError, read_text
from braing3n.data.people.tables import MAX_BYTES, MAX_CELLS
from braing3n.data.people.workbooks import MAGIC, read_workbook


@dataclass(frozen=True)
class Sheet:
    """One table of a file.

    Attributes:
        number: 1, or the place of the sheet in a workbook.
        header: The cells of the first line with text.
        rows: The cells of all lines with text after it; as many as were written.
    """

    number: int
    header: list[str]
    rows: list[list[str]]


def read_sheets(path: Path) -> list[Sheet]:
    """Return all that is in a table's file: one sheet for text, all sheets of a workbook.

    Raises:
        UnreadableError: It is no table, or larger than a table may be; its text quotes no cell.
        OSError: It cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise UnreadableError(f"more than {MAX_BYTES} bytes")
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        return _sheets([read_text(content, path.suffix)[0]])
    first, remarks = read_workbook(content, MAX_BYTES)
    if not remarks:
        return _sheets([first])
    # Hidden sheets as well: that is where the key between pseudonyms and names is kept.
    book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True)
    return _sheets(enumerate((["" if cell is None else str(cell) for cell in row]
                              for row in sheet.iter_rows(values_only=True)), start=1)
                   for sheet in book.worksheets)


def _sheets(tables: Iterable[Iterable[Record]]) -> list[Sheet]:
    sheets, num_cells = [], 0
    for number, records in enumerate(tables, start=1):
        lines = []
        for _, cells in records:
            num_cells += len(cells)
            if num_cells > MAX_CELLS:
                raise UnreadableError(f"more than {MAX_CELLS} cells")
            if any(cell.strip() for cell in cells):
                lines.append(cells)
        if lines:
            sheets.append(Sheet(number, lines[0], lines[1:]))
    return sheets
