"""Whether a run's signed round records, its run.json and its sites' manifests tell the same."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

from braing3n.audit.report.agreement import Disagreement
from braing3n.audit.report.rounds import Rounds
from braing3n.manifests import Manifest
from braing3n.protocol import LOSSES, RoundRecord, What, fixed_word
from braing3n.report.run_folder import Exchange, RunRecord
from braing3n.round_records import FILE_NAME, record_digest

_SHOWN = 10
_NOBODY = "What the record says of who took part is nobody's word then."


class Place(NamedTuple):
    """An exchange: the stage, what was asked, and the round of training, from 0."""

    stage: str
    what: str
    round_index: int | None = None

    def __str__(self) -> str:
        return (f"{self.stage}, {self.what}" if self.round_index is None
                else f"{self.stage}, round {self.round_index + 1}")


class Seen(NamedTuple):
    """The last record that a site has signed for; None where it is none."""

    site: str
    number: int | None


def seen_by_site(record: RunRecord, sent: Sequence[Manifest]) -> list[Seen]:
    """Return how far each site of a run has signed for records, by its manifests."""
    numbers: dict[str, int] = {}
    for one in _naming(record, sent):
        numbers[one.site] = max(numbers.get(one.site, -1), one.seen.number if one.seen else -1)
    return [Seen(site, numbers.get(site)) for site in record.sites]


def round_disagreements(rounds: Rounds | None, record: RunRecord, sent: Sequence[Manifest],
                        ) -> list[Disagreement]:
    """Return what a run's round records, its run.json and its sites' manifests say differently."""
    if rounds is None:
        return list(_lost(record, sent))
    if rounds.fault:
        return [Disagreement("broken_records", "", (
            f"{FILE_NAME}: {rounds.fault}. Records were changed, removed or put in. {_NOBODY}"))]
    if any((one.run, one.plan_digest) != (record.id, record.plan_digest) for one in rounds.records):
        return [Disagreement("broken_records", "", (
            f"{FILE_NAME} is of another run or plan than run.json. {_NOBODY}"))]
    return [*_compared(rounds.records, record), *_unsent(rounds.records, record, sent),
            *_other_records(rounds.records, record, sent)]


def _lost(record: RunRecord, sent: Sequence[Manifest]) -> Iterator[Disagreement]:
    """Find sites that have signed for records of a run that has none: it is no older run."""
    sites = sorted({one.site for one in _naming(record, sent)})
    if sites:
        yield Disagreement("broken_records", "", (
            f"{', '.join(sites)} signed for round records of this run, and its folder has no "
            f"{FILE_NAME}: it was removed. {_NOBODY}"))


def _compared(records: Sequence[RoundRecord], record: RunRecord) -> Iterator[Disagreement]:
    """Find exchanges that run.json has otherwise than the records, or one of them has not."""
    told = _exchanges(record)
    if record.status.startswith("failed") and told:  # the one that it ended with has no record
        told.pop(next(reversed(told)))
    latest = {_place(one): one for one in records}  # a round that was run again: the last holds
    without = [str(place) for place in told if place not in latest]
    if without:
        yield Disagreement("unrecorded", "", (
            f"run.json has {_listed(without)}, and {FILE_NAME} has no record of that: its end was cut "
            f"off, or run.json was added to. {_NOBODY}"))
    other = [str(place) for place, exchange in told.items()
             if place in latest and _of_exchange(exchange) != _of_record(latest[place])]
    if other:
        yield Disagreement("other_participation", "", (
            f"run.json has other sites asked, in the result or refused in {_listed(other)} than the "
            "signed record. One of both was changed."))
    every = _exchanges(record)
    last = max((one.number for place, one in latest.items() if place in every), default=-1)
    more = [str(place) for place, one in latest.items() if place not in every
            and (record.status.startswith("completed") or one.number < last)]
    if more:  # a run that was cut off may have some behind the last that run.json has
        yield Disagreement("unlisted_round", "", (
            f"{FILE_NAME} has a record of {_listed(more)}, and run.json does not. It was left out "
            "there."))


def _unsent(records: Sequence[RoundRecord], record: RunRecord, sent: Sequence[Manifest],
            ) -> Iterator[Disagreement]:
    """Find sites that are said to have answered, and of whom no manifest is of that."""
    kinds = {"training": "train.", "evaluation": "evaluate", "statistics": "query.moments"}
    # Without tensors it asked for a frozen part, which is no answer; an evaluation has none.
    there = {(one.site, what, one.stage, one.round_index) for one in sent if one.run == record.id
             for what, kind in kinds.items()
             if one.kind.startswith(kind) and (one.tensors or what == "evaluation")}
    lacking = [f"{site} ({_place(one)})" for one in records for site in one.answered
               if (site, one.what, one.stage, one.round_index) not in there]
    if lacking:
        yield Disagreement("unsent", "", (
            f"the signed records have an answer of {_listed(lacking)}, and manifests.jsonl has none "
            "that the site signed. It may not have answered."))


def _other_records(records: Sequence[RoundRecord], record: RunRecord, sent: Sequence[Manifest],
                   ) -> Iterator[Disagreement]:
    """Find records that sites have signed for, and that are not these."""
    digests = {one.number: record_digest(one) for one in records}
    other = sorted({(one.seen.number, one.site) for one in _naming(record, sent)
                    if one.seen is not None and digests.get(one.seen.number) != one.seen.digest})
    if other:
        yield Disagreement("other_record", "", (
            f"{_listed([f'{site} (record {number})' for number, site in other])} signed for a record "
            f"that is not in {FILE_NAME}, or is another one there. The coordinator has told sites "
            "something else, or has cut or rewritten its records, or the site has signed for what it "
            "was not sent: its own round_records.jsonl shows which."))


def _naming(record: RunRecord, sent: Sequence[Manifest]) -> list[Manifest]:
    return [one for one in sent if one.run == record.id and one.seen is not None]


def _exchanges(record: RunRecord) -> dict[Place, Exchange]:
    """Return the exchanges of run.json, in order."""
    found = {}
    for stage in record.stages:
        found.update({Place(stage.name, "training", one.round - 1): one
                      for one in stage.participation if one.round is not None})
        found.update({Place(stage.name, one.what): one for one in stage.other_exchanges
                      if one.what is not None and one.what in get_args(What)})
    return found


def _place(record: RoundRecord) -> Place:
    return Place(record.stage, record.what,
                 record.round_index if record.what == "training" else None)


def _of_exchange(one: Exchange) -> tuple[set[str], set[str], dict[str, str]]:
    return set(one.asked), set(one.answered), {
        site: fixed_word(word, LOSSES) for site, word in one.refused.items()}


def _of_record(one: RoundRecord) -> tuple[set[str], set[str], dict[str, str]]:
    return set(one.asked), set(one.answered), dict(one.refused)


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{'; '.join(items[:_SHOWN])}{more}"
