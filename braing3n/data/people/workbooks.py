"""The records of an Excel workbook (XLSX): what its first sheet shows, as text."""

import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time
from io import BytesIO
from typing import Any

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from braing3n.data.people.names import whole
from braing3n.data.people.table_text import Record, Remark, UnreadableError

# It warns of parts of a workbook that it would not write again; we only read.
warnings.filterwarnings("ignore", category=UserWarning, module="openpyxl")

MAGIC = b"PK\x03\x04"
_FIX = "save it in Excel as CSV UTF-8, or as a plain .xlsx"
# What openpyxl, zipfile and the XML parser raise for a damaged or foreign archive.
_DAMAGE = (ArithmeticError, AttributeError, EOFError, InvalidFileException, LookupError, OSError,
           RuntimeError, SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


def read_workbook(content: bytes, max_bytes: int) -> tuple[Iterator[Record], list[Remark]]:
    """Return the records of a workbook's first visible sheet, and what is odd about it.

    Args:
        content: The whole file.
        max_bytes: What the parts of the archive may come to when they are decompressed.

    Raises:
        UnreadableError: It is no workbook; later records may raise it as well.
    """
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > max_bytes:
            raise UnreadableError(f"a workbook of {size} bytes when unpacked", _FIX)
        # Twice: a formula has a value only if the program that wrote it has computed it.
        shown = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True)
        stored = openpyxl.load_workbook(BytesIO(content), read_only=True)
        names = [sheet.title for sheet in shown.worksheets]
        visible = [sheet.title for sheet in shown.worksheets if sheet.sheet_state == "visible"]
        if not visible:
            raise UnreadableError("a workbook without a visible sheet", _FIX)
        sheet, formulas = shown[visible[0]], stored[visible[0]]
        sheet.reset_dimensions()  # what a file says of its own size may be wrong
        formulas.reset_dimensions()
    except UnreadableError:
        raise
    except _DAMAGE as error:
        raise UnreadableError("an archive that is no XLSX workbook, or a damaged one",
                              _FIX) from error
    remarks = [] if len(names) == 1 else [
        ("table-sheet", f"{len(names)} sheets; {visible[0]!r} is read")]
    return _records(sheet, formulas), remarks


def _records(sheet: Any, formulas: Any) -> Iterator[Record]:
    rows = zip(sheet.iter_rows(), formulas.iter_rows(), strict=True)
    number = 0
    try:
        for number, (shown, stored) in enumerate(rows, start=1):
            for cell, source in zip(shown, stored, strict=True):
                # A computed value that is an empty text has a type of its own.
                if cell.value is None and source.value is not None and cell.data_type == "n":
                    raise UnreadableError(
                        f"a formula in row {number} of sheet {sheet.title!r} that was never computed",
                        "open it in Excel and save it, so that its values are stored")
            yield number, [_text(cell) for cell in shown]
    except UnreadableError:
        raise
    except _DAMAGE as error:
        raise UnreadableError(f"a damaged sheet {sheet.title!r}, after row {number}", _FIX) from error


def _text(cell: Any) -> str:
    """Return what a cell says: a whole number without `.0`, with the zeros that its format adds."""
    value = whole(cell.value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        zeros = re.fullmatch(r"0{2,}", cell.number_format or "")
        return str(value).zfill(len(zeros[0])) if zeros and value >= 0 else str(value)
    if isinstance(value, datetime) and value.time() == time():
        value = value.date()
    return value.isoformat() if isinstance(value, date | time) else str(value)
