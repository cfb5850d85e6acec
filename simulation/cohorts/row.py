"""One row of a cohort, and all of them: what reading gives and partitions divide."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from braing3n.conditions import Conditions

Unit = Literal["scans", "rows", "scans and rows"]


@dataclass(frozen=True)
class CohortRow:
    """One scan, or one row of a table that lists no scans.

    Attributes:
        subject: Whose it is.
        session: The visit, or None.
        site: Where it was made, as it is spelled; None where that is not told.
        conditions: What is known of it.
        path: The scan; None for a row without.
        scanner: Its maker and model, or None.
        cohort: Which of several cohorts it is of; None where there is one alone.
        lacking: Of a row without a scan, the columns that say that there is none, such as `T1w`.
    """

    subject: str
    session: str | None
    site: str | None
    conditions: Conditions
    path: Path | None = None
    scanner: str | None = None
    cohort: str | None = None
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class CohortRows:
    """What was read of a cohort.

    Attributes:
        rows: In the order of the table or of the names of files.
        notes: What was left aside or not understood.
        repeated: Ids with several rows that name no visit, in a table of people.
        excluded: Rows of who is no subject by the definition, such as a phantom.
    """

    rows: tuple[CohortRow, ...]
    notes: tuple[str, ...]
    repeated: tuple[str, ...] = ()
    excluded: tuple[CohortRow, ...] = ()


def unit_of(rows: Iterable[CohortRow]) -> Unit:
    """Return what rows are to be called: scans, or rows where no images are behind them."""
    have_scans = {row.path is not None for row in rows}
    if have_scans == {True, False}:
        return "scans and rows"
    return "rows" if have_scans == {False} else "scans"
