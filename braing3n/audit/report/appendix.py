"""A ledger's entries as the document lists them, and where in it an entry is found."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from braing3n.audit.ledger_line import Line
from braing3n.audit.report.words import Piece, Words, words
from braing3n.audit.verify import LedgerAudit

# Longer tables nobody reads, and a page of them opens slowly.
MAX_ROWS = 500


@dataclass(frozen=True)
class Row:
    """An entry, or several in a row that are shown as one.

    Attributes:
        id: Of the row in the document.
        first: The first entry.
        last: The last one; the same where it is one alone.
        line: The entry; None where there are several, or where it cannot be read.
        about: In words, which of them there are.
    """

    id: str
    first: int
    last: int
    line: Line | None
    about: str


@dataclass(frozen=True)
class Appendix:
    """A ledger in the document.

    Attributes:
        audit: The ledger.
        name: Its site's name, or the folder's that it lies in.
        slug: What ids of its parts end in.
        rows: In order; every entry is in one of them.
        is_grouped: Whether some rows stand for several entries.
    """

    audit: LedgerAudit
    name: str
    slug: str
    rows: tuple[Row, ...]
    is_grouped: bool

    @property
    def recompute_id(self) -> str:
        """Id of the command that rebuilds the ledger's numbers."""
        return f"recompute-{self.slug}"

    @property
    def id(self) -> str:
        """Id of its table."""
        return f"ledger-{self.slug}"

    def target(self, entry: int) -> str:
        """Return the id of the row that an entry is in; of the whole table where it is in none."""
        at = bisect_right([row.first for row in self.rows], entry) - 1
        return self.rows[at].id if at >= 0 and entry <= self.rows[at].last else self.id

    def span(self, entries: Sequence[int]) -> Words:
        """Return the first and the last of entries, as links."""
        if not entries:
            return words("none")
        first, last = (Piece(f"{entry}", self.target(entry)) for entry in (entries[0], entries[-1]))
        return words(first) if len(entries) == 1 else words(first, " to ", last)


def appendices(ledgers: Sequence[LedgerAudit]) -> list[Appendix]:
    """Return ledgers as the document lists them."""
    found: list[Appendix] = []
    for audit in ledgers:
        name = audit.site or audit.path.absolute().parent.name
        clean = re.sub("[^A-Za-z0-9-]+", "-", name) or "site"
        taken = {one.slug for one in found}
        slug = next(slug for number in range(1, len(ledgers) + 1)
                    if (slug := clean if number == 1 else f"{clean}-again-{number}") not in taken)
        found.append(_appendix(audit, name, slug))
    return found


def _appendix(audit: LedgerAudit, name: str, slug: str) -> Appendix:
    lines = dict(audit.lines)
    every = [(number, lines.get(number)) for number in range(audit.num_entries)]
    if len(every) <= MAX_ROWS:
        return Appendix(audit, name, slug, tuple(_row(slug, [one]) for one in every), False)
    rows: list[Row] = []
    for _, group in groupby(every, key=lambda one: _kind_of(one[1])):
        same = list(group)
        parts = [same[:1], same[1:-1], same[-1:]] if len(same) > 2 else [[one] for one in same]
        rows += [_row(slug, part) for part in parts]
    if len(rows) > MAX_ROWS:  # hundreds of runs: the first and the last of them stay
        half = MAX_ROWS // 2
        between = every[rows[half].first:rows[half - MAX_ROWS + 1].first]
        rows = [*rows[:half], _row(slug, between), *rows[half - MAX_ROWS + 1:]]
    return Appendix(audit, name, slug, tuple(rows), True)


def _kind_of(line: Line | None) -> tuple[str | None, str | None, bool, str | None]:
    """Return what entries that are shown together have in common; notes stand alone."""
    if line is None:
        return None, None, False, None
    told = f"{line.seq}" if line.kind == "note" else None
    return line.run, line.stage, line.kind == "refuse", told


def _row(slug: str, entries: Sequence[tuple[int, Line | None]]) -> Row:
    (first, line), (last, _) = entries[0], entries[-1]
    if first == last:
        return Row(f"entry-{slug}-{first}", first, last, line,
                   "cannot be read" if line is None else "")
    lines = [line for _, line in entries if line is not None]
    kinds = [f"{sum(line.kind == kind for line in lines):,} {kind}"
             for kind in ("reserve", "settle", "refuse", "note")
             if any(line.kind == kind for line in lines)]
    where = sorted({f"run {line.run}, {line.stage}" for line in lines if line.run})
    return Row(f"entries-{slug}-{first}-{last}", first, last, None, "; ".join(
        [", ".join(kinds), *(where if len(where) <= 2 else [f"{len(where)} stages of runs"])]))
