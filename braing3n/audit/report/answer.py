"""The audit report for programs."""

import math
from dataclasses import asdict
from typing import Any

from braing3n.audit.output import finite, verified_json
from braing3n.audit.recompute import Recomputed
from braing3n.audit.report.document import Document
from braing3n.audit.report.promises import CohortPromise, Promise
from braing3n.audit.report.words import plain

SCHEMA = 1


def document_json(doc: Document) -> dict[str, Any]:
    """Return an audit report as one JSON object; numbers that there are not are null."""
    return {
        "schema": SCHEMA, "kind": "braing3n audit report", "version": doc.version,
        "written": doc.written, "holds": doc.holds, "num_findings": doc.num_findings, "unit": "subject",
        "promises": [_promise(one) for one in doc.promises],
        "run": _run(doc),
        "epsilon": _parts(doc),
        "parameters": [{"site": row.site, **row.raw._asdict(), "steps": row.steps,
                        "charges": row.num_entries, "delta": row.delta} for row in doc.parameters],
        "releases": [{"site": row.site, "run": row.run, "stage": row.stage, "what": row.what,
                      "how": row.noised, "count": row.count, "unsettled": row.open_count}
                     for row in doc.releases],
        "egress_manifests": [row._asdict() for row in doc.sent] or None,
        "transfers": [{"stage": row.stage, "exchange": row.what, "asked": row.num_asked,
                       "answered": row.num_answered, "bytes_up": row.bytes_up,
                       "bytes_down": row.bytes_down} for row in doc.transfers],
        "participation": [{"stage": row.stage, "exchange": row.what, "answered": list(row.answered),
                           "lost": dict(row.lost)} for row in doc.exchanges],
        "round_records": None if doc.given.rounds is None else {
            "records": len(doc.given.rounds.records),
            "signed_for_up_to": {row.site: row.number for row in doc.seen}},
        "refusals": [{"site": row.site, "run": row.run, "stage": row.stage, "code": row.code,
                      "meaning": row.meaning, "count": row.count} for row in doc.refusals],
        "digests": [{**asdict(row), "equal": row.is_equal} for row in doc.digests],
        "verification": verified_json(doc.given.verified),
        "disagreements": [one._asdict() for one in doc.disagreements],
        "empirical": [{"file": str(one.path), **one.record.model_dump(mode="json")}
                      for one in doc.given.attacks],
        "memorisation": None,
        "not_covered": [{"code": gap.code, "name": gap.name, "says": plain(gap.says)}
                        for gap in doc.gaps],
        "commands": [asdict(one) for one in doc.commands],
        "files": [{"path": str(file.path), "sha256": file.sha256, "bytes": file.num_bytes}
                  for file in doc.given.files]}


def _parts(doc: Document) -> dict[str, Any]:
    return {
        "by_part": [{"site": row.site, "cohort": row.cohort, "by": row.kind,
                     "name": row.share.name, "entries": row.share.num_entries,
                     "steps": row.share.steps, "pld": row.share.bounds.pld,
                     "rdp": row.share.bounds.rdp} for row in doc.shares],
        "limits": [{"site": row.site, "cohort": row.cohort, "time": row.time,
                    "epsilon": row.epsilon, "delta": row.delta} for row in doc.limits],
        "over_time": [{"site": course.site, "cohort": course.cohort, "ends_void": course.is_cut,
                       "points": [{"entry": point.entry, "time": point.time, "after": point.about,
                                   "claimed": finite(point.claimed),
                                   "recomputed": point.recomputed} for point in course.points]}
                      for course in doc.courses]}


def _promise(one: Promise) -> dict[str, Any]:
    return {"site": one.site, "kind": one.kind, "supported": one.is_supported,
            "in_model": one.is_in_model, "says": plain(one.says),
            "cohorts": [_cohort(cohort) for cohort in one.cohorts]}


def _cohort(one: CohortPromise) -> dict[str, Any]:
    return {"cohort": one.cohort, "kind": one.kind, "ledger": str(one.ledger.audit.path),
            "without_dp_entry": one.void_at, "claim_entry": one.claimed_at,
            "epsilon": None if one.recomputed is None or one.kind != "dp" else _epsilon(one.recomputed)}


def _epsilon(spent: Recomputed) -> dict[str, Any]:
    pld = spent.bounds.pld
    return {"pld": pld, "rdp": spent.bounds.rdp, "claimed": finite(spent.claimed.pld),
            "claimed_rdp": finite(spent.claimed.rdp), "delta": spent.delta,
            "times": None if pld is None else math.exp(pld),  # accountants tell no ε above 700
            "agrees": not spent.is_understated, "num_unsettled": spent.num_unsettled}


def _run(doc: Document) -> dict[str, Any] | None:
    record = doc.given.record
    if record is None:
        return None
    return {
        "id": record.id, "name": record.name, "status": record.status, "started": record.started,
        "ended": record.ended, "sites": list(record.sites), "strangers": record.strangers,
        "plan_digest": record.plan_digest, "code_digest": record.code_digest,
        "encoder_digest": record.encoder_digest, "versions": record.versions,
        "stages": [{"name": stage.name, "rounds_planned": stage.rounds,
                    "rounds_done": len(stage.participation),
                    "start": None if stage.start is None else stage.start.model_dump()}
                   for stage in record.stages]}
