"""What `braing3n audit verify` and `recompute` print, for people and for programs."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from braing3n.audit.findings import Finding
from braing3n.audit.recompute import Recomputed
from braing3n.audit.verify import LedgerAudit, Verified


def verified_json(verified: Verified) -> dict[str, Any]:
    """Return the answer of `audit verify` for programs; numbers that there are not are null."""
    ledgers = [_ledger_json(ledger) for ledger in verified.ledgers]
    every = [*verified.findings, *(one for ledger in verified.ledgers for one in ledger.findings)]
    cohorts = [one for ledger in verified.ledgers for one in ledger.cohorts]
    return {
        "holds": verified.holds, "findings": [finding_json(one) for one in every],
        "num_entries": sum(ledger.num_entries for ledger in verified.ledgers),
        "epsilon": epsilon_json(worst(cohorts)), "notes": list(verified.notes), "ledgers": ledgers}


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a finding for programs."""
    return {"code": finding.code, "entry": finding.entry, "meaning": finding.meaning}


def worst(cohorts: Sequence[Recomputed]) -> Recomputed | None:
    """Return the cohort that was promised least."""
    return max(cohorts, key=lambda one: (
        one.is_void, math.inf if one.bounds.pld is None else one.bounds.pld), default=None)


def epsilon_json(one: Recomputed | None) -> dict[str, Any] | None:
    """Return a cohort's ε for programs; null where nothing was spent, or nothing can be said."""
    if one is None:
        return None
    if one.is_void:
        return {"claimed": None, "rdp": None, "pld": None, "delta": one.delta,
                "void": "trained on without differential privacy as well"}
    return {"claimed": finite(one.claimed.pld), "rdp": one.bounds.rdp, "pld": one.bounds.pld,
            "delta": one.delta}


def recomputed_json(path: str, cohorts: Sequence[Recomputed]) -> dict[str, Any]:
    """Return the answer of `audit recompute` for one ledger, for programs."""
    return {"ledger": path, "cohorts": [{
        "cohort": one.cohort, "epsilon": epsilon_json(one), "claimed_rdp": finite(one.claimed.rdp),
        "agrees": not one.is_understated, "num_unsettled": one.num_unsettled,
        **{f"by_{kind}": [{"name": share.name, "entries": share.num_entries, "steps": share.steps,
                           "rdp": share.bounds.rdp, "pld": share.bounds.pld} for share in shares]
           for kind, shares in one.shares.items()}} for one in cohorts]}


def verified_lines(verified: Verified) -> Iterator[str]:
    """Give the answer of `audit verify` for people."""
    for ledger in verified.ledgers:
        yield (f"{ledger.path}{f' (site {ledger.site})' if ledger.site else ''}: {ledger.num_entries} "
               f"entries, checked with {ledger.public_key}")
        yield from (f"  {_at(one)}{one.code}: {one.meaning}" for one in ledger.findings)
        for cohort in ledger.cohorts:
            yield f"  cohort {cohort.cohort}: {summary(cohort)}"
        yield from (f"  note: {note}" for note in ledger.notes)
    yield from (f"receipts: {one.code}: {one.meaning}" for one in verified.findings)
    yield from (f"note: {note}" for note in verified.notes)
    yield "holds" if verified.holds else "does not hold"


def summary(one: Recomputed) -> str:
    """Return what a cohort has cost, in one line."""
    if one.is_void:
        return "no epsilon holds: it was also trained on without differential privacy"
    return (f"epsilon claimed {up(one.claimed.pld)}, recomputed {up(one.bounds.pld)} (PLD), "
            f"{up(one.bounds.rdp)} (RDP), at delta {one.delta:g}")


def recomputed_lines(path: str, cohorts: Sequence[Recomputed]) -> Iterator[str]:
    """Give the answer of `audit recompute` for people."""
    for one in cohorts:
        yield f"{path}, cohort {one.cohort}: {summary(one)}"
        if one.num_unsettled:
            yield f"  {one.num_unsettled} charges were never settled, and count in full"
        yield f"  {'each by itself':24}{'entries':>9}{'steps':>9}{'PLD':>10}{'RDP':>10}"
        for kind, shares in one.shares.items():
            for share in shares:
                yield (f"  {kind + ' ' + share.name:24}{share.num_entries:>9}{share.steps:>9}"
                       f"{up(share.bounds.pld):>10}{up(share.bounds.rdp):>10}")
        yield ("  the claim is too low: the site's own list of work comes to more" if one.is_understated
               else "  no claim can hold for these patients" if one.is_void else
               "  the claim agrees with the entries")
    if not cohorts:
        yield f"{path}: nothing was ever charged"
    yield "signatures, order and receipts were not looked at: `braing3n audit verify` does that"


def up(epsilon: float | None) -> str:
    """Return an ε for people, rounded up, as it is an upper bound."""
    if epsilon is None or not math.isfinite(epsilon):
        return "no number"
    return f"{math.ceil(epsilon * 1e4 - 1e-3) / 1e4:.4f}"


def _ledger_json(ledger: LedgerAudit) -> dict[str, Any]:
    return {"path": str(ledger.path), "site": ledger.site, "public_key": ledger.public_key,
            "holds": not ledger.findings, "num_entries": ledger.num_entries,
            "findings": [finding_json(one) for one in ledger.findings], "notes": list(ledger.notes),
            "epsilon": {one.cohort: epsilon_json(one) for one in ledger.cohorts}}


def _at(finding: Finding) -> str:
    return "" if finding.entry is None else f"entry {finding.entry}: "


def finite(value: float) -> float | None:
    """Return a number for programs; None where it is none."""
    return value if math.isfinite(value) else None


