"""Who took part in what, and who refused it and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from braing3n.audit.report.appendix import Appendix
from braing3n.audit.report.words import Words
from braing3n.report.privacy_table import REFUSALS
from braing3n.report.run_folder import Exchange, RunRecord

# Words that ledgers and records have beside those of run.json's report.
_MORE = {"unreachable": "failed: no connection", "name_taken": "refused: another site has its name",
         "refused_unread": "refused: a task that could not be read",
         "revoked": "not asked: the coordinator has shut it out"}


@dataclass(frozen=True)
class ExchangeRow:
    """Exchanges in a row that went alike.

    Attributes:
        stage: The stage.
        what: Which of them.
        answered: Sites that are in the result.
        lost: (site, why) of those that were asked and are not.
    """

    stage: str
    what: str
    answered: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RefusalRow:
    """What a site's ledger says that it refused.

    Attributes:
        site: The site.
        run: The run.
        stage: The stage.
        code: The fixed word.
        meaning: What that means.
        count: How often.
        entries: Where that stands.
    """

    site: str
    run: str
    stage: str
    code: str
    meaning: str
    count: int
    entries: Words


def exchanges(record: RunRecord) -> list[ExchangeRow]:
    """Return who took part in every exchange, those in a row that went alike taken together."""
    rows = []
    for stage in record.stages:
        for _, group in groupby(stage.participation, key=lambda one: (one.answered, _lost(one))):
            same = list(group)
            first, last = same[0], same[-1]
            what = (f"round {first.round}" if len(same) == 1
                    else f"rounds {first.round} to {last.round}")
            rows.append(ExchangeRow(stage.name, what, first.answered, _lost(first)))
        rows += [ExchangeRow(stage.name, one.what or "another exchange", one.answered, _lost(one))
                 for one in stage.other_exchanges]
    return rows


def refusals(ledgers: Sequence[Appendix]) -> list[RefusalRow]:
    """Return what ledgers say was refused, alike ones together."""
    rows = []
    for one in ledgers:
        groups: dict[tuple[str, str, str], list[int]] = {}
        for entry, line in one.audit.lines:
            if line.kind == "refuse" or (line.kind, line.code) == ("note", "refused_unread"):
                key = line.run or "-", line.stage or "-", str(line.code)
                groups.setdefault(key, []).append(entry)
        rows += [RefusalRow(one.name, run, stage, code, meaning_of(code), len(entries),
                            one.span(entries)) for (run, stage, code), entries in groups.items()]
    return rows


def meaning_of(word: str) -> str:
    """Return what a fixed word says."""
    return REFUSALS.get(word) or _MORE.get(word, word)


def _lost(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    return tuple((site, meaning_of(exchange.refused[site]) if site in exchange.refused else "no answer")
                 for site in exchange.asked if site not in exchange.answered)
