"""From a table's cells to the six conditioning variables: understood, or listed, never guessed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from braing3n.conditions import Conditions

# Columns of each variable by `tables.column_name`, the best first. Severity is a family: each
# scale has its own range.
_COLUMNS = {
    "age_years": ("age", "age_years", "age_at_scan", "age_at_scan_years", "age_at_mri",
                  "age_at_visit"),
    "sex": ("sex", "gender", "ptgender"),
    "diagnosis": ("diagnosis", "group", "dx", "diag", "dx_group"),
    "severity": ("severity", "mmse", "cdr", "who_grade", "who_cns_grade"),
    "field_strength": ("magneticfieldstrength", "magnetic_field_strength", "field_strength"),
}

# Spellings of "not known", as `_bare` gives them; -9, -99, -999 and so on besides.
_MISSING = {"", "?", "na", "nan", "none", "null", "unknown", "missing", "notavailable", "pending",
            "withheld"}

_SEX = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F"}

_MODALITY = {"t1w": "T1w", "t1": "T1w", "t1n": "T1w", "t2w": "T2w", "t2": "T2w", "flair": "FLAIR",
             "t2f": "FLAIR", "t1c": "T1c", "t1ce": "T1c", "t1gd": "T1c"}

# Spellings as `_bare` gives them. Only what can mean nothing else:
# "patient", "case" or "dementia" does not say which disease.
_DIAGNOSIS = {
    "HC": ("hc", "control", "controls", "con", "ctrl", "healthy", "healthycontrol",
           "healthycontrols", "healthyvolunteer", "hv", "normal", "normalcontrol", "nc", "cn",
           "cognitivelynormal", "tdc", "td", "typicallydeveloping"),
    "MCI": ("mci", "emci", "lmci", "mildcognitiveimpairment"),
    "AD": ("ad", "alzheimer", "alzheimers", "alzheimerdisease", "alzheimersdisease"),
    "PD": ("pd", "parkinson", "parkinsons", "parkinsondisease", "parkinsonsdisease"),
    "MDD": ("mdd", "depr", "depression", "depressed", "majordepression",
            "majordepressivedisorder"),
    "SCZ": ("scz", "sz", "schz", "schizophrenia"),
    "BP": ("bp", "bipolar", "bipolardisorder"),
    "ASD": ("asd", "autism", "autismspectrumdisorder"),
    "ADHD": ("adhd", "adhdcombined", "adhdinattentive", "adhdhyperactiveimpulsive"),
    "glioma": ("glioma", "glioblastoma", "gbm", "hgg", "lgg", "astrocytoma", "oligodendroglioma"),
    "other": ("other",),
}
_DIAGNOSIS_OF = {spelling: code for code, spellings in _DIAGNOSIS.items()
                 for spelling in spellings}

_GRADES = {"i": 1.0, "ii": 2.0, "iii": 3.0, "iv": 4.0}
_TESLA = {1.5: "1.5T", 3.0: "3T", 7.0: "7T"}


@dataclass(frozen=True)
class Cell:
    """What a table or a sidecar says of one variable.

    Attributes:
        column: The column's name.
        text: The cell, as written.
    """

    column: str
    text: str


def cells_of(row: Mapping[str, str]) -> dict[str, Cell]:
    """Return the cell of each variable that a row (see `tables.read_table`) says something of."""
    found = {}
    for variable, columns in _COLUMNS.items():
        for column in columns:
            if not _is_missing(row.get(column, "")):
                found[variable] = Cell(column, row[column])
                break
    return found


def understand(cells: Mapping[str, Cell], modality: str | None,
               ) -> tuple[Conditions, tuple[Cell, ...]]:
    """Turn cells into conditions.

    Args:
        cells: By variable, as from `cells_of`.
        modality: One of the variable's codes, or None.

    Returns:
        The conditions, unknown where a cell is not understood; and the cells that are not.
    """
    age = _in_range(cells.get("age_years"), 0.0, 120.0)
    sex = _SEX.get(_text(cells, "sex"))
    diagnosis = _DIAGNOSIS_OF.get(_text(cells, "diagnosis"))
    severity = _severity(cells.get("severity"))
    tesla = _tesla(cells.get("field_strength"))
    known = {"age_years": age, "sex": sex, "diagnosis": diagnosis, "severity": severity,
             "field_strength": tesla}
    conditions = Conditions(age_years=age, sex=sex, diagnosis=diagnosis, modality=modality,
                            severity=severity, field_strength=tesla)
    return conditions, tuple(cell for name, cell in cells.items() if known[name] is None)


def modality_of(text: str, *, contrast: bool = False) -> str | None:
    """Return the modality that a BIDS suffix or a table's cell names, or None.

    Args:
        text: Such as `T1w`, `t1ce` or `flair`.
        contrast: A contrast agent was given (BIDS entity `ce`), which makes T1w T1c.
    """
    modality = _MODALITY.get(_bare(text))
    return "T1c" if contrast and modality == "T1w" else modality


def _severity(cell: Cell | None) -> float | None:
    """Return 0 (none) to 1 (the worst of the scale)."""
    if cell is None:
        return None
    if cell.column == "mmse":
        score = _in_range(cell, 0.0, 30.0)
        return None if score is None else (30.0 - score) / 30.0
    if cell.column == "cdr":
        score = _in_range(cell, 0.0, 3.0)
        return None if score is None else score / 3.0
    if cell.column in ("who_grade", "who_cns_grade"):
        grade = _GRADES.get(cell.text.casefold(), _in_range(cell, 1.0, 4.0))
        return None if grade is None else grade / 4.0
    return _in_range(cell, 0.0, 1.0)


def _tesla(cell: Cell | None) -> str | None:
    if cell is None:
        return None
    value = _in_range(Cell(cell.column, re.sub(r"\s*(T|Tesla)$", "", cell.text)), 0.0, 20.0)
    return next((code for tesla, code in _TESLA.items()
                 if value is not None and abs(value - tesla) <= 0.3), None)


def _in_range(cell: Cell | None, low: float, high: float) -> float | None:
    if cell is None or not _is_number(cell.text):
        return None
    value = float(cell.text)
    return value if low <= value <= high else None


def _is_missing(text: str) -> bool:
    return _bare(text) in _MISSING or re.fullmatch(r"-9+(\.0*)?", text) is not None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]*)?", text) is not None


def _text(cells: Mapping[str, Cell], variable: str) -> str:
    return _bare(cells[variable].text) if variable in cells else ""


def _bare(text: str) -> str:
    """Return `text` in lower case without the blanks and marks that spellings differ in."""
    return re.sub(r"[\s_'./-]", "", text.casefold())
