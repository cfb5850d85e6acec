"""What left each site, as far as ledgers and a run's record say."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from braing3n.audit.ledger_line import Line
from braing3n.audit.report.accounts import WHAT
from braing3n.audit.report.agreement import MEASURING, PROBES, part_of
from braing3n.audit.report.appendix import Appendix
from braing3n.audit.report.given import Given
from braing3n.audit.report.words import Piece, Words, words
from braing3n.report.departures import human_bytes
from braing3n.report.run_folder import Exchange, RunRecord

RUN_RECORD = "run-record"  # id of the row of run.json among the files


@dataclass(frozen=True)
class ReleaseRow:
    """Releases of one kind in one stage of one run.

    Attributes:
        site: Who released them.
        run: In which run.
        stage: In which stage.
        what: What they are, in words.
        noised: How they left: `with noise`, or `exact`.
        count: How many.
        open_count: Charges that were never settled: whether they left is not known.
        source: Entries, or the record.
    """

    site: str
    run: str
    stage: str
    what: str
    noised: str
    count: int
    open_count: int
    source: Words


@dataclass(frozen=True)
class Transfer:
    """Bytes of one exchange, of all sites together."""

    stage: str
    what: str
    num_answered: int
    num_asked: int
    down: str
    up: str
    bytes_down: int
    bytes_up: int


def releases(given: Given, ledgers: Sequence[Appendix]) -> list[ReleaseRow]:
    """Return what left the sites: charged releases of ledgers, and exact ones of a run's record."""
    rows = [row for one in ledgers for row in _charged(one)]
    if given.record is not None:
        rows += [row for site in given.record.sites
                 for row in _exact(given, given.record, site, ledgers)]
    return rows


def transfers(given: Given) -> list[Transfer]:
    """Return how much went to and fro, exchange by exchange, and parts that were sent."""
    if given.record is None:
        return []
    rows = []
    for stage in given.record.stages:
        rows += [_transfer(stage.name, exchange) for exchange in
                 [*stage.participation, *stage.other_exchanges]]
        rows += [Transfer(stage.name, f"sending of the finished {one.part}",
                          len(one.asked) - len(one.refused), len(one.asked),
                          human_bytes(one.bytes_frozen), human_bytes(0), one.bytes_frozen, 0)
                 for name, one in given.deliveries if name == stage.name]
    return rows


def exact_sites(rows: Iterable[ReleaseRow], what: str) -> list[str]:
    """Return sites from which something left exactly, in order."""
    return list(dict.fromkeys(row.site for row in rows if row.noised == "exact" and row.what == what))


HELD_OUT, LOSSES, UPDATES = WHAT["metrics"], "training losses", WHAT["update"]


def _charged(ledger: Appendix) -> list[ReleaseRow]:
    groups: dict[tuple[str, str, str], list[tuple[int, Line]]] = {}
    for entry, line in ledger.audit.lines:
        if line.kind in ("reserve", "settle"):
            key = str(line.run), str(line.stage), str(line.what)
            groups.setdefault(key, []).append((entry, line))
    rows = []
    for (run, stage, what), own in groups.items():
        settled = {line.reserves for _, line in own if line.kind == "settle"}
        num_open = sum(line.kind == "reserve" and line.seq not in settled for _, line in own)
        rows.append(ReleaseRow(ledger.name, run, stage, WHAT[what], "with noise", len(settled),
                               num_open, ledger.span([entry for entry, _ in own])))
    return rows


def _exact(given: Given, record: RunRecord, site: str, ledgers: Iterable[Appendix],
           ) -> list[ReleaseRow]:
    """Return what left a site exactly; losses and metrics as metrics.jsonl has them."""
    own = [one for one in ledgers if one.name == site]
    account = record.privacy_by_site.get(site)
    if not own and account is not None and account.stages:
        return []  # a site with a budget whose ledger is not here: nothing is known
    entries = [line for one in own for _, line in one.audit.lines if line.run == record.id]
    without = {line.stage for line in entries if line.is_without_dp}
    charged = {line.stage for line in entries if line.what == "metrics"}
    part = part_of(record, site)
    rows = []
    for stage in (stage.name for stage in record.stages):
        told = [line.phase for line in given.metrics
                if (line.site, line.stage) == (site, stage) and (line.metrics or line.losses)]
        counts = {} if stage in charged else {HELD_OUT: told.count("evaluate")}
        if not own or stage in without:
            others = [_OTHERS.get(what, what) for name, what in part.others
                      if name == stage and what != MEASURING]
            counts = {UPDATES: sum(name == stage for name, _ in part.gave), **Counter(others),
                      LOSSES: told.count("train"), HELD_OUT: told.count("evaluate")}
        rows += [ReleaseRow(site, record.id, stage, what, "exact", count, 0,
                            words(Piece("run.json, metrics.jsonl", RUN_RECORD)))
                 for what, count in counts.items() if count]
    tasks = [task for task, what in part.others if what == PROBES]
    return rows + [ReleaseRow(site, record.id, "-", f"sums for the probe {task}", "exact", 1, 0, words(
        Piece("run.json", RUN_RECORD))) for task in tasks]


_OTHERS = {"statistics": WHAT["moments"]}


def _transfer(stage: str, exchange: Exchange) -> Transfer:
    what = f"round {exchange.round}" if exchange.round is not None else exchange.what or "other"
    return Transfer(stage, what, len(exchange.answered), len(exchange.asked),
                    human_bytes(exchange.bytes_down), human_bytes(exchange.bytes_up),
                    exchange.bytes_down, exchange.bytes_up)
