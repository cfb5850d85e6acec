"""Cells of a table of people: spellings of missing, and values that are not understood."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from braing3n.data.codebook import Codebook
from braing3n.data.covariates import (
    READ,
    Cell,
    age_of,
    is_missing,
    is_missing_number,
    is_over_89,
    value_of,
)
from braing3n.data.findings import Finding, finding
from braing3n.data.names import code_of
from braing3n.data.people import Person
from braing3n.data.tables import Table

NUM_SHOWN = 8
_MAX_CELL = 40
_MAX_CODE = 3
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


def shown(texts: Sequence[str]) -> str:
    """Return the first texts, and how many more there are."""
    more = len(texts) - NUM_SHOWN
    return ", ".join(texts[:NUM_SHOWN]) + (f" and {more} more" if more > 0 else "")


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
    return [finding("missing-spelling", table.path, shown(listed))] if listed else []


def _ages(table: Table, places: Sequence[Place]) -> Iterator[Finding]:
    """Yield what is not understood among ages, and where there is one over 89, without its value."""
    old = [line for line, cell in places if is_over_89(cell)]
    if old:
        units = {cell.scale or "years" for line, cell in places if line in old}
        fix = None if units == {"years"} else (
            f"write the number of {' or '.join(sorted(units))} of 89 years for every age over 89")
        yield finding("age-over-89", table.path, f"{_count(old, 'age')} ({_lines(old)})", fix=fix)
    ages = [(line, cell, age_of(cell)) for line, cell in places]
    unclear = _tally((line, cell) for line, cell, age in ages
                     if age is None and not is_over_89(cell))
    zeros = [line for line, _, age in ages if age == 0]
    if zeros and not any(age is not None and 0 < age < 2 for _, _, age in ages):
        unclear.append(f"0 beside no other age below 2, read as a newborn's ({_lines(zeros)})")
    if unclear:
        yield finding("age-unclear", table.path, shown(unclear))


def _unclear(table: Table, places: dict[str, list[Place]]) -> Iterator[Finding]:
    """Yield the cells of the other variables that are not understood."""
    listed: dict[str, list[str]] = {}
    for variable in sorted(READ & places.keys() - {"age_years"}):
        strange = [(line, cell) for line, cell in places[variable] if value_of(variable, cell) is None]
        if strange:
            code = _CODE_OF.get(variable, "value-unclear")
            prefix = f"{variable} " if code == "value-unclear" else ""
            hides_words = variable == "sex"  # a word there may be a name that slipped a column
            listed.setdefault(code, []).extend(
                prefix + text for text in _tally(strange, hides_words=hides_words))
    for code, texts in listed.items():
        yield finding(code, table.path, shown(texts))


def _tally(places: Iterable[Place], *, hides_words: bool = False) -> list[str]:
    """Return each text once, with its line or its number of rows, the most frequent first."""
    lines: dict[str, list[int]] = {}
    for line, cell in places:
        text = cell.text.strip()
        is_hidden = hides_words and len(text) > _MAX_CODE and text.isalpha()
        lines.setdefault("a word" if is_hidden else _quoted(text), []).append(line)
    return [f"{text} ({_lines(where) if len(where) == 1 else f'{len(where)} rows'})"
            for text, where in sorted(lines.items(), key=lambda item: -len(item[1]))]


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 3] + "...")


def _count(items: Sequence[object], noun: str) -> str:
    return f"one {noun}" if len(items) == 1 else f"{len(items)} {noun}s"


def _lines(lines: Sequence[int]) -> str:
    return ("line " if len(lines) == 1 else "lines ") + shown([str(line) for line in lines])
