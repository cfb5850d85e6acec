"""Columns of a site's table beyond the six conditions: what its rows say of each subject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from braing3n.config import DataConfig
from braing3n.data.people.codebook import open_codebook
from braing3n.data.people.covariates import is_missing
from braing3n.data.people.mapping import load_mapping
from braing3n.data.people.names import column_name
from braing3n.data.people.tables import read_table


@dataclass(frozen=True)
class FurtherColumns:
    """What a table says of its subjects, cell by cell.

    Attributes:
        columns: The names of all columns, by `column_name`.
        cells: By subject and column, as written, without blanks around them. A cell that says that
            nothing is known is not there, nor are those of a subject's rows that differ.
    """

    columns: tuple[str, ...]
    cells: Mapping[str, Mapping[str, str]]

    def first_of(self, names: Sequence[str]) -> str | None:
        """Return the first of these columns that the table has, or None."""
        return next((column_name(name) for name in names if column_name(name) in self.columns), None)

    def said(self, subject: str, column: str) -> str | None:
        """Return what is said of a subject in a column, or None."""
        return self.cells.get(subject, {}).get(column)


def open_further(data: DataConfig) -> FurtherColumns:
    """Read the columns of a site's table of scans, or of its dataset's participants.tsv.

    Raises:
        CohortError: The table cannot be read.
        ConfigError: The mapping file is wrong, or does not fit the table.
    """
    path = data.table if data.folder is None else data.folder / "participants.tsv"
    if path is None or not path.is_file():
        return FurtherColumns((), {})
    table = read_table(path)
    book = open_codebook(table, None if data.mapping is None else load_mapping(data.mapping))
    seen: dict[str, dict[str, set[str]]] = {}
    for row in table.rows:
        subject = book.subject_of(row).strip()
        if subject:
            of_subject = seen.setdefault(subject, {})
            for column, text in row.items():
                if not is_missing(text):
                    of_subject.setdefault(column, set()).add(text.strip())
    return FurtherColumns(table.columns, {
        subject: {column: texts.pop() for column, texts in said.items() if len(texts) == 1}
        for subject, said in seen.items()})
