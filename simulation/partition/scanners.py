"""Which scanner made a scan: by its sidecar, or by the usual columns of a table."""

from collections.abc import Callable, Mapping
from typing import Any

from braing3n.data.people.covariates import is_missing
from braing3n.data.people.tables import Row, Table

# Beginnings of what makers write of themselves, in DICOM and in tables, in lower case.
_MAKERS = {"siemens": "Siemens", "philips": "Philips", "ge": "GE", "general electric": "GE",
           "toshiba": "Canon", "canon": "Canon", "hitachi": "Hitachi", "uih": "United Imaging",
           "united imaging": "United Imaging"}
# Columns by `names.column_name`.
_MAKER_COLUMNS = ("manufacturer", "scanner_manufacturer", "mri_manufacturer", "scanner_vendor",
                  "vendor")
_MODEL_COLUMNS = ("manufacturers_model_name", "manufacturersmodelname", "manufacturer_model_name",
                  "manufacturermodelname", "scanner_model", "scanner")


def scanner_of(facts: Mapping[str, Any]) -> str | None:
    """Return a scanner's maker and model, such as `Siemens Prisma`, by a sidecar; None for neither."""
    return _named(str(facts.get("Manufacturer") or ""), str(facts.get("ManufacturersModelName") or ""))


def scanner_column(table: Table) -> Callable[[Row], str | None]:
    """Return what tells the scanner that a row of a table names, or None where it names none."""
    maker, model = (next((name for name in names if name in table.columns), None)
                    for names in (_MAKER_COLUMNS, _MODEL_COLUMNS))
    return lambda row: _named(row[maker] if maker else "", row[model] if model else "")


def scanners_of(table: Table, key: Callable[[Row], str]) -> dict[str, str]:
    """Return the scanner that a table names for each key, where its rows name one alone.

    Args:
        table: Of people or of scans.
        key: What a row is of, such as its subject; rows of an empty key are passed over.
    """
    scanner, found = scanner_column(table), dict[str, set[str]]()
    for row in table.rows:
        said = scanner(row)
        if said is not None and key(row):
            found.setdefault(key(row), set()).add(said)
    return {name: min(scanners) for name, scanners in found.items() if len(scanners) == 1}


def _named(maker: str, model: str) -> str | None:
    """Return maker and model as one name; what makers write of themselves is told by its beginning."""
    words = ["" if is_missing(text) else " ".join(text.split()) for text in (maker, model)]
    bare = words[0].casefold()
    words[0] = next((name for start, name in _MAKERS.items()
                     if bare == start or bare.startswith(start + " ")), words[0])
    if words[0] and words[1].casefold().startswith(words[0].casefold()):
        words = words[1:]
    return " ".join(word for word in words if word) or None
