"""From cells to the six conditioning variables: understood, or listed, never guessed.

What a table's columns mean is `braing3n.data.people.codebook`'s matter; here it is single cells.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

from braing3n.conditions import Conditions
from braing3n.data.people.spellings import DIAGNOSIS_OF, MISSING, MODALITY, SEX

AgeUnit = Literal["years", "months", "weeks", "days"]
Value = TypeVar("Value", float, str)
# Severity is a family: each scale has its own range. `severity` itself is 0 to 1.
SeverityScale = Literal["severity", "mmse", "cdr", "who_grade"]

# Words of a diagnosis that do not change it: "patients with depression", "AD group".
_FILLERS = re.compile(r"\b(patients?|participants?|subjects?|individuals?|people|persons?|with|"
                      r"diagnosis of|diagnosed|group)\b")

_GRADES = {"i": 1.0, "ii": 2.0, "iii": 3.0, "iv": 4.0}
_TESLA = {1.5: "1.5T", 3.0: "3T", 7.0: "7T"}
_PER_YEAR = {"years": 1.0, "months": 12.0, "weeks": 365.25 / 7, "days": 365.25}
_DICOM_UNITS: dict[str, AgeUnit] = {"Y": "years", "M": "months", "W": "weeks", "D": "days"}
# BIDS writes 89+ for every age above 89; others write 90+ for the same people.
_TOP_CODE = re.compile(r"(?:>=?|≥)\s*(89|90)|(89|90)\s*\+")


@dataclass(frozen=True)
class Cell:
    """What a table or a sidecar says of one variable.

    Attributes:
        column: The column's name.
        text: The cell, as written.
        meaning: What a dictionary says that the text means; None where the text says it itself.
        scale: What a number counts: an `AgeUnit` or a `SeverityScale`; empty where there is one.
    """

    column: str
    text: str
    meaning: str | None = None
    scale: str = ""

    @property
    def said(self) -> str:
        """What is to be understood: the meaning, or the text."""
        return self.text if self.meaning is None else self.meaning


def understand(cells: Mapping[str, Cell], modality: str | None,
               ) -> tuple[Conditions, dict[str, Cell]]:
    """Turn cells into conditions.

    Args:
        cells: By variable; those of none of the variables are passed over.
        modality: One of the variable's codes, or None.

    Returns:
        The conditions, unknown where a cell is not understood; and by variable the cells that are
        not.
    """
    conditions = Conditions(
        age_years=_if_said(age_of, cells.get("age_years")), sex=_if_said(_sex, cells.get("sex")),
        diagnosis=_if_said(_diagnosis, cells.get("diagnosis")), modality=modality,
        severity=_if_said(_severity, cells.get("severity")),
        field_strength=_if_said(_tesla, cells.get("field_strength")))
    return conditions, {name: cell for name, cell in cells.items()
                        if name in _READERS and getattr(conditions, name) is None}


def value_of(variable: str, cell: Cell) -> float | str | None:
    """Return what a cell says of a variable, or None where it is not understood.

    Raises:
        KeyError: The variable is not in `READ`.
    """
    return _READERS[variable](cell)


def modality_of(text: str, *, contrast: bool = False) -> str | None:
    """Return the modality that a BIDS suffix or a table's cell names, or None.

    Args:
        text: Such as `T1w`, `t1ce` or `flair`.
        contrast: A contrast agent was given (BIDS entity `ce`), which makes T1w T1c.
    """
    modality = MODALITY.get(_bare(text))
    return "T1c" if contrast and modality == "T1w" else modality


@lru_cache(maxsize=4096)  # tables say the same over and over
def is_missing(text: str) -> bool:
    """Tell whether a cell says that nothing is known, in any of the usual spellings."""
    return _bare(text) in MISSING or is_missing_number(text)


def is_missing_number(text: str) -> bool:
    """Tell whether a cell holds a number that stands for nothing: -9, -99, -999.0 and so on."""
    return re.fullmatch(r"[-\u2212]9+([.,]0*)?", text.strip()) is not None


def is_over_89(cell: Cell) -> bool:
    """Tell whether an age is a number over 89, which only a top code such as 89+ may say."""
    age = age_of(cell)
    if age is not None:
        return age > 89 and _TOP_CODE.fullmatch(cell.said.strip()) is None
    # Not understood, but an age all the same: `95+`, `over 92`, `85-95`.
    numbers = re.findall(r"(?<![0-9.,])[0-9]{2,3}(?![0-9])", cell.said)
    return cell.scale in ("", "years") and any(90 <= int(number) <= 120 for number in numbers)


def unclear_letters(texts: Iterable[str]) -> dict[str, str]:
    """Return M or F, in lower case and with a meaning that is none, where a column leaves it open.

    Beside H, M is mujer rather than male; beside V it is so where V is varón; beside N, F is férfi.
    Where both M and F are used, they mean what they mean in English.
    """
    used = {text.strip().casefold() for text in texts}
    if {"m", "f"} <= used:
        return {}
    unclear = ({"m"} if used & {"h", "v"} else set()) | ({"f"} if "n" in used else set())
    return dict.fromkeys(unclear & used, "unclear")


def age_of(cell: Cell) -> float | None:
    """Return an age in years, 0 to 120, or None where the cell is not understood."""
    text = cell.said.strip()
    dicom = re.fullmatch(r"([0-9]{3})([YMWD])", text)
    if dicom is not None:
        return _in_range(float(dicom[1]) / _PER_YEAR[_DICOM_UNITS[dicom[2]]], 0.0, 120.0)
    top = _TOP_CODE.fullmatch(text)
    if top is not None and cell.scale in ("", "years"):
        return float(top[1] or top[2])
    number = _number(text)
    return None if number is None else _in_range(number / _PER_YEAR[cell.scale or "years"], 0.0, 120.0)


def _sex(cell: Cell) -> str | None:
    if cell.meaning is None:
        return SEX.get(cell.text.strip().casefold())
    words = re.findall(r"\w+", cell.meaning.casefold())
    found = {SEX[word] for word in words if word in SEX}
    return found.pop() if len(found) == 1 else None


def _diagnosis(cell: Cell) -> str | None:
    found = _disease(cell.said)
    if found is None and cell.meaning is not None:
        # The text is a word that we know, and the dictionary's phrase contains one for the same.
        own = _disease(cell.text)
        phrase = re.findall(r"\w+", cell.meaning.casefold())
        found = own if own is not None and any(DIAGNOSIS_OF.get(word) == own for word in phrase) \
            else None
    return found


def _disease(text: str) -> str | None:
    return DIAGNOSIS_OF.get(_bare(_FILLERS.sub("", text.casefold())))


def _severity(cell: Cell) -> float | None:
    """Return 0 (none) to 1 (the worst of the scale)."""
    number = _number(cell.said)
    if cell.scale == "who_grade":
        number = _GRADES.get(_bare(cell.said), number)
    low, high = {"mmse": (0.0, 30.0), "cdr": (0.0, 3.0), "who_grade": (1.0, 4.0)}.get(
        cell.scale, (0.0, 1.0))
    if number is None or _in_range(number, low, high) is None:
        return None
    return (30.0 - number) / 30.0 if cell.scale == "mmse" else number / high


def _tesla(cell: Cell) -> str | None:
    text = re.sub(r"\s*(T|Tesla)?(\s+MRI)?$", "", cell.said.strip(), flags=re.IGNORECASE)
    value = _number(text)
    return next((code for tesla, code in _TESLA.items()
                 if value is not None and abs(value - tesla) <= 0.3), None)


# Who reads what of a cell.
_READERS: dict[str, Callable[[Cell], float | str | None]] = {
    "age_years": age_of, "sex": _sex, "diagnosis": _diagnosis, "severity": _severity,
    "field_strength": _tesla}
READ = frozenset(_READERS)


def _if_said(read: Callable[[Cell], Value | None], cell: Cell | None) -> Value | None:
    return None if cell is None else read(cell)


def _number(text: str) -> float | None:
    """Read a number that is not negative, with a decimal point or comma.

    A comma before exactly three digits could set thousands apart, so that it is not read.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,3},([0-9]{1,2}|[0-9]{4,})", text):
        text = text.replace(",", ".")
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text) else None


def _in_range(value: float, low: float, high: float) -> float | None:
    return value if low <= value <= high else None


def _bare(text: str) -> str:
    """Return `text` in lower case without the blanks and marks that spellings differ in."""
    return re.sub(r"[\s_'./\-\u2019\u2013\u2014\u2212]", "", text.casefold())
