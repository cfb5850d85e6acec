"""Scans of a cohort as a table that a site's settings can name."""

import csv
import io
from collections.abc import Iterable

import numpy as np

from simulation.cohorts.row import CohortRow

_COLUMNS = ("subject", "session", "path", "modality", "age", "sex", "diagnosis", "severity",
            "field_strength", "site")


def scan_table(rows: Iterable[CohortRow]) -> str:
    """Return tab-separated text, one line a scan; what is not known is `n/a`."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(_cells(row) for row in rows if row.path is not None)
    return stream.getvalue()


def _cells(row: CohortRow) -> list[str]:
    known = row.conditions
    # A link stays one: where it leads, as in git-annex, no name tells a scan and no sidecar is near.
    path = row.path and row.path.absolute()
    values = (row.subject, row.session, path, known.modality, known.age_years, known.sex,
              known.diagnosis, known.severity, known.field_strength, row.site)
    return ["n/a" if value is None else _text(value) for value in values]


def _text(value: object) -> str:
    """Return a value as it is read back to the last bit: a number without an exponent."""
    return np.format_float_positional(value) if isinstance(value, float) else str(value)
