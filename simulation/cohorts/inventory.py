"""What a table of people says of scans itself: a column for each modality, such as `T1w`."""

from collections.abc import Callable

from braing3n.data.people.codebook import Codebook
from braing3n.data.people.covariates import is_missing, modality_of
from braing3n.data.people.names import code_of
from braing3n.data.people.tables import Row, Table

_NONE = ("0", "no", "false")


def lacking_of(table: Table, book: Codebook) -> Callable[[Row], tuple[str, ...]]:
    """Return what tells, of a row, the columns by which a scan of it is missing.

    Such a column bears a modality's name and no other meaning; its cell is empty, `n/a`, 0, `no` or
    `false` where there is no scan.
    """
    taken = {reading.column for readings in book.readings.values() for reading in readings}
    columns = [(header, column) for header, column in zip(table.header, table.columns, strict=True)
               if column not in taken and modality_of(header) is not None]

    def lacking(row: Row) -> tuple[str, ...]:
        return tuple(header for header, column in columns
                     if is_missing(row[column]) or code_of(row[column]) in _NONE)

    return lacking
