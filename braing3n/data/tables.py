"""Tables of subjects, sessions or scans, as hospitals really save them."""

import csv
import re
from pathlib import Path

from braing3n.errors import CohortError

_EXPECTED = "a CSV or TSV table in UTF-8 with one header line"


def column_name(text: str) -> str:
    """Return a column's name in one spelling: ` Age (years)` becomes `age_years`."""
    return re.sub(r"[^a-z0-9]+", "_", text.strip().casefold()).strip("_")


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a table separated by tabs, commas or semicolons; a BOM and CRLF are fine.

    Returns:
        One dict a row, keyed by `column_name`, blanks around cells removed. Empty lines are left
        out; cells that a short line lacks are empty.

    Raises:
        CohortError: The file is not such a table, names a column twice, or has a line with more
            cells than columns, whose values could land in the wrong column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max("\t,;", key=first.count)
        lines = [(number, [cell.strip() for cell in cells]) for number, cells in
                 enumerate(csv.reader(text.splitlines(), delimiter=delimiter), start=1)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{path} cannot be read as a table", expected=_EXPECTED,
                          found=str(error), fix="save it again as CSV or TSV in UTF-8") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines:
        raise CohortError(f"{path} is empty", expected=_EXPECTED, found="no line with text",
                          fix="check that it was saved")
    columns = [column_name(cell) for cell in lines[0][1]]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise CohortError(f"{path} names a column twice", expected="every column once",
                          found=", ".join(twice), fix="rename or remove one of them")
    for number, cells in lines[1:]:
        if any(cells[len(columns):]):
            raise CohortError(f"{path} has a line with too many cells",
                              expected=f"{len(columns)} cells, as in the header",
                              found=f"{len(cells)} in line {number}", fix="mend that line")
    return [dict(zip(columns, cells + [""] * len(columns), strict=False))
            for _, cells in lines[1:]]
