"""ε by site, stage, run and kind of release, and with which parameters, as tables."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from braing3n.audit.ledger_line import Mechanism
from braing3n.audit.ledger_rules import decisions_of
from braing3n.audit.output import up
from braing3n.audit.recompute import Bounds, Share
from braing3n.audit.report.appendix import Appendix
from braing3n.audit.report.promises import CohortPromise
from braing3n.audit.report.words import Piece, Words, chance, number, sure, times, words

WHAT = {"update": "updates of weights", "moments": "latent moments", "metrics": "held-out metrics",
        "counts": "numbers of patients"}
_MECHANISMS = {"poisson_gaussian": "Poisson-subsampled Gaussian", "gaussian": "Gaussian"}


@dataclass(frozen=True)
class Total:
    """What a cohort of a site has cost in all; every number with where it comes from.

    `times`, `chance` and `sure` are what it means; None where there is no number.
    """

    site: str
    cohort: str
    promise: CohortPromise
    claimed: Words
    pld: Words
    rdp: Words
    delta: str
    times: str
    sure: str
    chance: str
    unsettled: int


@dataclass(frozen=True)
class ShareRow:
    """What a part of a cohort's work costs by itself."""

    site: str
    cohort: str
    kind: str
    share: Share
    pld: Words
    rdp: Words
    entries: Words


@dataclass(frozen=True)
class LimitRow:
    """What a hospital has decided may be spent."""

    site: str
    cohort: str
    time: str
    epsilon: float
    delta: float
    target: str


@dataclass(frozen=True)
class ParameterRow:
    """A way in which a site noised what it released, and how often."""

    site: str
    mechanism: str
    raw: Mechanism
    steps: int
    num_entries: int
    delta: float | None
    expected: str
    entries: Words


def totals(promised: Iterable[CohortPromise]) -> list[Total]:
    """Return what cohorts have cost in all; of those that something was charged for."""
    rows = []
    for one in promised:
        spent, ledger = one.recomputed, one.ledger
        if spent is None:
            continue
        epsilon = spent.bounds.pld if one.kind == "dp" else None
        none = words(Piece(_WHY_NONE.get(one.kind, "no number"),
                           ledger.recompute_id if one.void_at is None else ledger.target(one.void_at)))
        pld, rdp = _told(spent.bounds, ledger.recompute_id)
        rows.append(Total(
            ledger.name, one.cohort, one, words(number(spent.claimed.pld, ledger.target(
                one.claimed_at or 0))) if epsilon is not None else none,
            pld if epsilon is not None else none, rdp if epsilon is not None else none,
            f"{spent.delta:g}", "-" if epsilon is None else times(epsilon),
            "-" if epsilon is None else sure(epsilon), chance(spent.delta), spent.num_unsettled))
    return rows


_WHY_NONE = {"void": "void: also trained on without", "beyond": "no number"}


def shares(promised: Iterable[CohortPromise]) -> list[ShareRow]:
    """Return what stages, runs and kinds of release cost by themselves; nothing for void cohorts."""
    rows = []
    for one in promised:
        if one.recomputed is None or one.kind == "void":
            continue
        entries = _entries(one)
        for kind, parts in one.recomputed.shares.items():
            for share in parts:
                pld, rdp = _told(share.bounds, one.ledger.recompute_id)
                rows.append(ShareRow(one.ledger.name, one.cohort, kind, share, pld, rdp,
                                     one.ledger.span(entries.get((kind, share.name), []))))
    return rows


def _entries(one: CohortPromise) -> dict[tuple[str, str], list[int]]:
    """Return the entries of each stage, run and kind of release."""
    found: dict[tuple[str, str], list[int]] = {}
    for entry, line in one.ledger.audit.lines:
        if line.cohort == one.cohort and line.kind in ("reserve", "settle"):
            for kind, name in (("stage", line.stage), ("run", line.run), ("release", line.what)):
                found.setdefault((kind, str(name)), []).append(entry)
    return found


def limits(ledgers: Iterable[Appendix]) -> list[LimitRow]:
    """Return what hospitals have decided may be spent."""
    return [LimitRow(one.name, decision.cohort, decision.time, decision.epsilon, decision.delta,
                     one.target(decision.entry))
            for one in ledgers for decision in decisions_of(one.audit.lines)]


def parameters(ledgers: Iterable[Appendix]) -> list[ParameterRow]:
    """Return how releases were noised: each way once, whatever the round."""
    rows = []
    for one in ledgers:
        counts: Counter[Mechanism] = Counter()
        entries: dict[Mechanism, list[int]] = {}
        deltas: dict[Mechanism, float] = {}
        for entry, line in one.audit.lines:
            if line.kind == "reserve" and line.mechanism is not None:
                way = line.mechanism._replace(steps=1)
                counts[way] += line.mechanism.steps
                entries.setdefault(way, []).append(entry)
                if line.spent is not None:
                    deltas[way] = line.spent.delta
        rows += [ParameterRow(
            one.name, _MECHANISMS[way.name], way, steps, len(entries[way]), deltas.get(way),
            f"{deltas[way] * way.num_subjects:.2g}" if way in deltas else "-",
            one.span(entries[way])) for way, steps in counts.items()]
    return rows


def _told(bounds: Bounds, target: str) -> tuple[Words, Words]:
    return (words(Piece(up(bounds.pld), target)), words(Piece(up(bounds.rdp), target)))
