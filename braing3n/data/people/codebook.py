"""What the columns of one table mean: by a mapping file, by its dictionary, or by their own names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from braing3n.data.findings import Severity
from braing3n.data.people.covariates import AgeUnit, Cell, is_missing, unclear_letters
from braing3n.data.people.dictionaries import Described, explained, read_dictionary
from braing3n.data.people.mapping import ColumnMapping, ColumnSource, scale_of
from braing3n.data.people.names import base_name, code_of, column_name
from braing3n.data.people.tables import Row, Table
from braing3n.errors import ConfigError

# Usual names by `column_name`, the best first.
_SUBJECT = ("participant_id", "subject", "subject_id", "sub_id", "patient_id", "participant", "patient",
            "mrid", "ptid", "patno", "id")
_NO_SUBJECT = ("sample_id", "scan_id", "image_id", "series_id", "run_id", "study_id")
_NAMES = {
    "visit": ("session", "session_id"),
    "path": ("path",),
    "modality": ("modality",),
    "sex": ("sex", "gender", "ptgender", "sex_id", "patient_sex", "sex_at_birth", "geschlecht", "sexe",
            "sexo", "sesso"),
    "diagnosis": ("diagnosis", "group", "dx", "diag", "dx_group"),
    "severity": ("severity", "mmse", "cdr", "who_grade", "who_cns_grade"),
    "field_strength": ("magneticfieldstrength", "magnetic_field_strength", "field_strength",
                       "fldstreng"),
    "site": ("site", "site_id", "siteid", "site_name", "center", "centre", "center_id", "centre_id",
             "institution", "institution_id", "institution_name", "hospital"),
}
_AGE = re.compile(r"(?:(?:subject|patient|participant)_)?(?:age|alter|edad|idade|leeftijd)"
                  r"(?:_at_(?:scan|mri|visit|session|imaging|acquisition))?"
                  r"(?:_in)?(?:_(?P<unit>[a-z]+))?")
_UNITS: dict[str, AgeUnit] = {
    "y": "years", "yr": "years", "yrs": "years", "year": "years", "years": "years",
    "mo": "months", "mos": "months", "month": "months", "months": "months",
    "wk": "weeks", "wks": "weeks", "week": "weeks", "weeks": "weeks",
    "d": "days", "day": "days", "days": "days",
}
_BEST_UNITS: tuple[AgeUnit, ...] = get_args(AgeUnit)


@dataclass(frozen=True)
class Reading:
    """How one column is read.

    Attributes:
        column: Its name, as in `Table.columns`.
        codes: What its codes mean, by `names.code_of`.
        scale: What its numbers count; see `Cell.scale`.
    """

    column: str
    codes: Mapping[str, str]
    scale: str = ""

    def cell(self, row: Row) -> Cell | None:
        """Return what a row says here, or None where it says that nothing is known."""
        text = row[self.column]
        meaning = self.codes.get(code_of(text))
        cell = Cell(self.column, text, meaning, self.scale)
        return None if is_missing(cell.said) else cell


@dataclass(frozen=True)
class Codebook:
    """How one table is read.

    Attributes:
        subject: The column of the ids, as in `Table.columns`; None where there is none.
        readings: By variable, `visit`, `path` and `site` among them: its columns, the best first.
        mapping: The mapping file that was used, or None.
        damage: What is wrong with the table's dictionary, or None.
    """

    subject: str | None
    readings: Mapping[str, tuple[Reading, ...]]
    mapping: ColumnMapping | None
    damage: str | None

    def subject_of(self, row: Row) -> str:
        """Return a row's subject: as written, or as the mapping makes it; empty where none."""
        text = row[self.subject] if self.subject is not None else ""
        if self.mapping is not None:
            return self.mapping.subject.id_of(text)
        return "" if is_missing(text) else text

    def cells(self, row: Row) -> dict[str, Cell]:
        """Return the cell of each variable that a row says something of."""
        found = {}
        for variable, readings in self.readings.items():
            cell = next((cell for cell in (reading.cell(row) for reading in readings) if cell), None)
            if cell is not None:
                found[variable] = cell
        if self.mapping is not None and self.subject is not None and "visit" not in found:
            visit = self.mapping.subject.visit_of(row[self.subject])
            if visit is not None:
                found["visit"] = Cell(self.subject, visit)
        return found


def open_codebook(table: Table, mapping: ColumnMapping | None = None, *,
                  is_for_this: bool = True) -> Codebook:
    """Find out which column of a table says what, and what its codes mean.

    A mapping goes before the table's dictionary (the JSON file beside it, as in BIDS), and that
    before what a column's own name says, such as `SEX_ID (1=m, 2=f)`.

    Args:
        table: The table.
        mapping: What the site says of its columns.
        is_for_this: Whether the mapping was written for this very table, so that each of its
            columns must be there; otherwise it is used where they are.

    Raises:
        ConfigError: The mapping names a column that is not there.
    """
    sources = {} if mapping is None else mapping.columns()
    if mapping is not None and mapping.site is not None and mapping.site.column is not None:
        sources["site"] = ColumnSource(column=mapping.site.column, codes=mapping.site.codes)
    if mapping is not None and is_for_this:
        _check_columns(table, {"subject": mapping.subject.column,
                               **{name: source.column for name, source in sources.items()}})
    dictionary, damage = read_dictionary(table.path)
    readings = {}
    for variable in ("age_years", *_NAMES):
        source = sources.get(variable)
        if source is not None and column_name(source.column) in table.columns:
            columns = [column_name(source.column)]
        elif variable == "site" and mapping is not None and mapping.site is not None:
            columns = []  # the mapping says that it is told elsewhere
        else:
            source, columns = None, _usual(variable, table)
        readings[variable] = tuple(
            _reading(variable, column, table, dictionary.get(column, Described({})), source)
            for column in columns)
    subject = _subject(table) if mapping is None else column_name(mapping.subject.column)
    return Codebook(subject if subject in table.columns else None, readings, mapping, damage)


def notes_of(table: Table, book: Codebook) -> list[str]:
    """Return what is odd about a table and its dictionary, beyond what is handled well."""
    notes = [f"{table.path.name}: {remark.rule.defect}: {remark.found}" for remark in table.remarks
             if remark.rule.severity is not Severity.INFO]
    return notes + ([f"{book.damage}; not used"] if book.damage else [])


def _check_columns(table: Table, wanted: Mapping[str, str]) -> None:
    lacking = [f"`{name}: {column}`" for name, column in wanted.items()
               if column_name(column) not in table.columns]
    if lacking:
        raise ConfigError(f"the mapping names columns that {table.path} does not have",
                          expected="of its columns: " + ", ".join(table.header),
                          found=", ".join(lacking), fix="correct the mapping file")


def _subject(table: Table) -> str | None:
    """Return the column of the subjects' ids: by its name, or the first if it is one of ids."""
    first = table.columns[0]
    others = {*_NAMES["sex"], *_NAMES["site"], *_NAMES["visit"], *_NO_SUBJECT}
    is_id = first.endswith("_id") and base_name(table.header[0]) not in others
    return next((name for name in _SUBJECT if name in table.columns), first if is_id else None)


def _usual(variable: str, table: Table) -> list[str]:
    """Return a table's columns that by their names say something of a variable, the best first."""
    bases = {column: base_name(text) for text, column in zip(table.header, table.columns, strict=True)}
    if variable == "age_years":
        ages = {column: unit for column in table.columns if (unit := _age_unit(column)) is not None}
        best = min(ages.values(), key=_BEST_UNITS.index, default="years")
        # A second unit may be a remainder: 7 years and 3 months.
        return sorted((column for column, unit in ages.items() if unit == best), key=len)
    names = _NAMES[variable]
    found = [column for column in table.columns if column in names or bases[column] in names]
    return sorted(found, key=lambda column: names.index(
        column if column in names else bases[column]))


def _age_unit(column: str) -> AgeUnit | None:
    """Return the unit that a column of ages counts in, or None where it is no such column."""
    match = _AGE.fullmatch(column)
    return None if match is None else _UNITS.get(match["unit"] or "years")


def _reading(variable: str, column: str, table: Table, said: Described,
             source: ColumnSource | None) -> Reading:
    header = table.header[table.columns.index(column)]
    codes: dict[str, str] = {}
    if variable == "sex":
        codes |= unclear_letters({row[column] for row in table.rows})
    if variable in ("sex", "diagnosis", "site"):
        codes |= {**explained(header), **said.levels}
    scale = ""
    if variable == "age_years":
        scale = (source and source.unit) or _named_unit(column) or _UNITS.get(said.units, "years")
    elif variable == "severity":
        scale = (source and source.scale) or scale_of(header) or ""
    return Reading(column, codes | (source.codes if source is not None else {}), scale)


def _named_unit(column: str) -> AgeUnit | None:
    """Return the unit that a column's name says, such as `interview_age_months`."""
    match = _AGE.fullmatch(column)
    words = [match["unit"]] if match and match["unit"] else column.split("_")
    units = {_UNITS[word] for word in words if word in _UNITS and (match or len(word) > 1)}
    return units.pop() if len(units) == 1 else None
