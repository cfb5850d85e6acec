"""Cells of a table of people: spellings of missing, and values that are not understood."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from braing3n.data.findings import Finding, finding
from braing3n.data.people.codebook import Codebook
from braing3n.data.people.covariates import (
    READ,
    Cell,
    age_of,
    is_missing,
    is_missing_number,
    is_over_89,
    value_of,
)
from braing3n.data.people.names import code_of
from braing3n.data.people.rows import Person
from braing3n.data.people.tables import Table
from braing3n.listing import first_of

# What is quoted of cells that are not understood: codes, not words that may be a name.
_MAX_CODE, _MAX_SHARED = 4, 24
_SEX = re.compile(r".{0,3}")
_AGE = re.compile(r"[<>~]?\s?-?\d{1,4}([.,]\d+)?\s?(\+|[A-Za-z]{1,7})?|\d{1,3}\s?[-\u2013]\s?\d{1,3}")
_DATE_OR_NUMBER = re.compile(r"\d{5}|\d[./-]\d+[./-]\d")
# What may say something where it is not an age, a sex or the like: no medication, result pending.
_WORDS = {"none", "unknown", "pending", "withheld", "nil", "-", "?", "??", "not done"}
_CODE_OF = {"age_years": "age-unclear", "sex": "sex-unclear"}

Place = tuple[int, Cell]


def cell_findings(table: Table, book: Codebook, people: Sequence[Person]) -> list[Finding]:
    """Look at every cell of a table: at most one finding a rule.

    Args:
        table: The table.
        book: How it is read.
        people: Its rows as read, also those that name no subject.
    """
    places: dict[str, list[Place]] = {}
    for person in people:
        for variable, cell in person.cells.items():
            places.setdefault(variable, []).append((person.line, cell))
    return [*_missing(table, book), *_ages(table, places.get("age_years", [])),
            *_unclear(table, places)]


def _missing(table: Table, book: Codebook) -> list[Finding]:
    """Count each spelling of missing other than n/a; an empty cell is one in a TSV alone."""
    codes = {reading.column: reading.codes for variable, readings in book.readings.items()
             if variable not in ("visit", "path", "modality") for reading in readings}
    is_tsv = table.path.suffix.lower() == ".tsv"
    counts = Counter[str]()
    for column in table.columns:
        texts = Counter(row[column].strip() for row in table.rows)
        signed = any(text.startswith("-") and text[1:2].isdigit() and not is_missing_number(text)
                     for text in texts)
        for text, count in texts.items():
            if text == "n/a" or not is_missing(text) or code_of(text) in codes.get(column, {}):
                continue
            # In other columns, -9 may be a measurement, and `none` an answer.
            is_value = (signed and is_missing_number(text)) or text.casefold() in _WORDS
            if (text or is_tsv) and (column in codes or not is_value):
                counts[text or "(empty)"] += count
    listed = [f"{text} ({count})" for text, count in counts.most_common()]
    return [finding("missing-spelling", table.path, first_of(listed))] if listed else []


def _ages(table: Table, places: Sequence[Place]) -> Iterator[Finding]:
    """Yield what is not understood among ages, and where there is one over 89, without its value."""
    old = [line for line, cell in places if is_over_89(cell)]
    if old:
        units = {cell.scale or "years" for line, cell in places if line in old}
        fix = None if units == {"years"} else (
            f"write the number of {' or '.join(sorted(units))} of 89 years for every age over 89")
        yield finding("age-over-89", table.path, f"{_count(old, 'age')} ({_lines(old)})", fix=fix)
    ages = [(line, cell, age_of(cell)) for line, cell in places]
    unclear = _tally([(line, cell) for line, cell, age in ages
                      if age is None and not is_over_89(cell)], _AGE)
    zeros = [line for line, _, age in ages if age == 0]
    if zeros and not any(age is not None and 0 < age < 2 for _, _, age in ages):
        unclear.append(f"0 beside no other age below 2, read as a newborn's ({_lines(zeros)})")
    if unclear:
        yield finding("age-unclear", table.path, first_of(unclear))


def _unclear(table: Table, places: dict[str, list[Place]]) -> Iterator[Finding]:
    """Yield the cells of the other variables that are not understood."""
    listed: dict[str, list[str]] = {}
    for variable in sorted(READ & places.keys() - {"age_years"}):
        strange = [(line, cell) for line, cell in places[variable] if value_of(variable, cell) is None]
        if strange:
            code = _CODE_OF.get(variable, "value-unclear")
            prefix = f"{variable} " if code == "value-unclear" else ""
            listed.setdefault(code, []).extend(
                prefix + text for text in _tally(strange, _SEX if variable == "sex" else None))
    for code, texts in listed.items():
        yield finding(code, table.path, first_of(texts))


def _tally(places: Iterable[Place], code: re.Pattern[str] | None) -> list[str]:
    """Return each text once, with its line or its number of rows, the most frequent first.

    Columns get shifted, and then a name stands where a code should: only what looks like a code is
    quoted.

    Args:
        places: Cells and their lines.
        code: What a code of the variable may look like; None where any short word may be one.
    """
    lines: dict[str, list[int]] = {}
    for line, cell in places:
        lines.setdefault(cell.text.strip(), []).append(line)
    told: dict[str, list[int]] = {}
    for text, where in lines.items():
        is_code = (code.fullmatch(text) is not None if code is not None
                   else len(text) <= _MAX_CODE or (len(where) > 1 and len(text) <= _MAX_SHARED))
        is_code = is_code and not _DATE_OR_NUMBER.search(text)
        told.setdefault(repr(text) if is_code else "a text", []).extend(where)
    return [f"{text} ({_lines(where) if len(where) == 1 else f'{len(where)} rows'})"
            for text, where in sorted(told.items(), key=lambda item: -len(item[1]))]


def _count(items: Sequence[object], noun: str) -> str:
    return f"one {noun}" if len(items) == 1 else f"{len(items)} {noun}s"


def _lines(lines: Sequence[int]) -> str:
    return ("line " if len(lines) == 1 else "lines ") + first_of([str(line) for line in lines])
