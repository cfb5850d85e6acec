from pathlib import Path

import pytest

from braing3n.audit.ledger_line import Line
from braing3n.audit.report.appendix import MAX_ROWS, appendices
from braing3n.audit.verify import LedgerAudit

STAGES = ("pretrain", "decoder", "diffusion")


def made(num_runs: int, rounds: int, site: str | None = "site-a") -> LedgerAudit:
    """A ledger whose lines were read; no signature is looked at here."""
    lines = [Line(0, "0" * 64, "2026-01-01T00:00:00Z", "note", code="begun")]
    for run in range(num_runs):
        for stage in STAGES:
            for number in range(rounds):
                for kind in ("reserve", "settle"):
                    lines.append(Line(len(lines), "0" * 64, "2026-01-01T00:00:00Z", kind,
                                      run=f"run-{run}", stage=stage, round_index=number))
    return LedgerAudit(Path("site-x/ledger.jsonl"), site, "ed25519:00", tuple(enumerate(lines)),
                       tuple(f"{number:064x}" for number in range(len(lines))), (), (), ())


@pytest.mark.parametrize(("num_runs", "rounds"), [(1, 4), (2, 100), (150, 2), (400, 1)])
def test_every_entry_is_in_exactly_one_row_of_which_there_are_not_too_many(
    num_runs: int, rounds: int
) -> None:
    (one,) = appendices([made(num_runs, rounds)])
    assert len(one.rows) <= MAX_ROWS
    listed = [entry for row in one.rows for entry in range(row.first, row.last + 1)]
    assert listed == list(range(one.audit.num_entries))
    ids = [row.id for row in one.rows]
    assert len(set(ids)) == len(ids)
    for entry in range(0, one.audit.num_entries, 7):
        row = next(row for row in one.rows if row.id == one.target(entry))
        assert row.first <= entry <= row.last


def test_a_short_ledger_lists_each_entry_and_a_long_one_the_ends_of_stages() -> None:
    short, long = appendices([made(1, 4), made(2, 100, site="site-b")])
    assert not short.is_grouped
    assert all(row.line is not None for row in short.rows)
    assert long.is_grouped
    alone = [row.first for row in long.rows if row.line is not None]
    assert alone[:5] == [0, 1, 200, 201, 400]
    between = long.rows[2]
    assert (between.first, between.last) == (2, 199)
    assert between.about == "99 reserve, 99 settle; run run-0, pretrain"


def test_an_entry_that_is_not_there_leads_to_the_whole_table() -> None:
    (one,) = appendices([made(1, 1)])
    assert one.target(10**6) == one.id


def test_sites_of_one_name_or_of_odd_names_have_ids_of_their_own() -> None:
    found = appendices([made(1, 1), made(1, 1), made(1, 1, site="a b"), made(1, 1, site="a.b"),
                        made(1, 1, site=None)])
    assert [one.slug for one in found] == ["site-a", "site-a-again-2", "a-b", "a-b-again-2", "site-x"]
