"""The gate: what leaves a site is looked at, held to its settings, and written down before it goes."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from pydantic import ValidationError

from braing3n.budget import EgressConfig
from braing3n.errors import EgressError, ProtocolError
from braing3n.files import digest_bytes
from braing3n.manifests import Content, TensorRecord, manifest_line
from braing3n.networks import moments_like, network_like
from braing3n.payloads import BYTES, PayloadType
from braing3n.plan import Plan, StageName
from braing3n.protocol import Hello, Reply, Task
from braing3n.weights import State, doubles_from_npy, read_payload
from client import holding
from client.approval import check_plan
from client.egress_log import append_manifest
from client.reading import read_task, waits_until
from client.site import Site, check_task

_MB = 10**6


@dataclass(frozen=True)
class Asked:
    """What a message asks for, read and checked once.

    Attributes:
        kind: As in the message.
        until: When the coordinator stops waiting, by `time.time`.
        task: The task; None where it asks without one.
        like: Names and shapes of the array that answers it; empty where none does.
        payload: In which type that array travels; None without a task.
    """

    kind: str
    until: float
    task: Task | None = None
    like: State = field(default_factory=dict)
    payload: PayloadType | None = None


def check_asked(site: Site, message: Message) -> Asked:
    """Refuse, before any work and any charge, what could not leave afterwards.

    Returns:
        What is asked for.

    Raises:
        ProtocolError: Its times cannot be, or the task is not one that this software may do.
        PlanError: The site does not work on the plan.
        EgressError: The array that is asked for has other tensors than the settings let out, or is
            larger.
    """
    kind, until, task = message.metadata.message_type, waits_until(message), task_of(message)
    if task is None:
        return Asked(kind, until)
    plan = check_task(task)
    check_plan(site, plan)
    like = _like(kind, plan, task.stage)
    payload = plan.stage(task.stage).payload if kind.startswith("train.") else "float32"
    size = BYTES[payload] * sum(tensor.numel() for tensor in like.values())
    check_tensors(site.config.egress, task.stage, list(like), size)
    return Asked(kind, until, task, like, payload)


def let_out(site: Site, asked: Asked, reply: Message) -> Message:
    """Return a reply with its manifest, once the manifest is in the site's log.

    Args:
        site: The site.
        asked: What it answers.
        reply: What a handler answers.

    Raises:
        EgressError: The reply holds something that the settings do not let out, or a person did not
            let it out.
        LedgerError: The site's log of what left is damaged or gone.
    """
    text, content = _described(site, asked, reply.content)
    if site.config.egress.hold or holding.is_on(site.config.state_dir):
        holding.wait_for_release(site, content, text, asked.until)
    manifest = append_manifest(site.config.state_dir, content)
    reply.content["manifest"] = ConfigRecord({"json": manifest_line(manifest).decode()})
    return reply


def task_of(message: Message) -> Task | None:
    """Return a message's task; None where it has none, or one that its handler cannot read either."""
    try:
        return read_task(message)
    except ProtocolError:
        return None


def check_tensors(policy: EgressConfig, stage: StageName, names: list[str], num_bytes: int) -> None:
    """Check the names and the size of what is to leave.

    Raises:
        EgressError: Other tensors than the settings let out in this stage, or more bytes.
    """
    allowed = policy.tensors.get(stage, ("*",))
    other = [name for name in names if not any(fnmatchcase(name, one) for one in allowed)]
    if other:
        raise EgressError(f"{len(other)} tensors may not leave in {stage}",
                          expected=f"`egress: tensors:` {', '.join(allowed) or 'none'}",
                          found=", ".join(other[:3]), fix="ask the coordinator for another plan, or "
                          "let them out in the site's settings")
    if num_bytes > policy.max_mb * _MB:
        raise EgressError("a reply is too large to leave", expected=f"at most {policy.max_mb:g} MB "
                          "(`egress: max_mb:`)", found=f"{num_bytes / _MB:.1f} MB",
                          fix="allow more in the site's settings, if the plan is right")


def _described(site: Site, asked: Asked, records: RecordDict) -> tuple[str, Content]:
    """Return the report, and what leaves, after holding it to the settings."""
    text, data = _only_known(records)
    report, task = _read_report(text, site.config.name), asked.task
    tensors, digest = _tensors(asked, data)
    num_bytes = len(text.encode()) + (0 if data is None else len(data))
    if task is not None:
        check_tensors(site.config.egress, task.stage, [one.name for one in tensors], num_bytes)
    place: dict[str, Any] = {} if task is None else {
        "run": task.run, "stage": task.stage, "round_index": task.round_index,
        "plan_digest": task.plan_digest}
    told: dict[str, Any] = {} if isinstance(report, Hello) else {
        "metrics": report.metrics, "privacy": report.privacy, "seen": report.seen}
    content = Content(site=site.config.name, kind=asked.kind, tensors=tensors, num_bytes=num_bytes,
                      array_digest=digest, report_digest=digest_bytes(text.encode()), **place, **told)
    most = site.config.egress.max_norm
    if most is not None and asked.kind.startswith("train.") and content.norm > most:
        raise EgressError("an update is too long to leave", expected=f"an L2 norm of at most {most:g} "
                          "(`egress: max_norm:`)", found=f"{content.norm:.6g}",
                          fix="allow more in the site's settings, or lower the plan's learning rate")
    return text, content


def _only_known(content: RecordDict) -> tuple[str, bytes | None]:
    """Return the text and the array of a reply, which holds nothing else.

    Raises:
        EgressError: There are other records, or other entries in these.
    """
    records = {name: sorted(content[name]) for name in content}
    arrays = content.array_records.get("arrays")
    is_known = (records.get("message") == ["json"] and records.keys() <= {"message", "arrays"}
                and ("arrays" not in records or records["arrays"] == ["weights"]))
    if not is_known or ("arrays" in records and arrays is None):
        raise EgressError("a reply holds something unknown", expected="a report, and one array",
                          found=f"{len(records)} records", fix="report this as a fault of the program")
    data = None if arrays is None else bytes(arrays["weights"].data)
    return str(content.config_records["message"]["json"]), data


def _read_report(text: str, name: str) -> Hello | Reply:
    """Return a reply's report, which is one of the two that there are, of this site.

    Raises:
        EgressError: It is something else.
    """
    for kind in (Reply, Hello):
        try:
            report = kind.model_validate_json(text)
        except ValidationError:
            continue
        if report.site == name:
            return report
    raise EgressError("a report is none of this site's", expected="a report with the site's own name",
                      found="another text", fix="report this as a fault of the program")


def _tensors(asked: Asked, data: bytes | None) -> tuple[tuple[TensorRecord, ...], str | None]:
    """Return what an array holds, and the sha256 of its numbers."""
    if data is None:
        return (), None
    if asked.kind == "query.probe":
        sums = doubles_from_npy([data])
        return (TensorRecord(name="sums", shape=sums.shape, dtype="float64", norm=_norm(sums)),
                ), digest_bytes(sums.tobytes())
    vector, payload = read_payload([data])
    like = asked.like
    sizes = [like[name].numel() for name in sorted(like)]
    if (sum(sizes), asked.payload) != (vector.size, payload):
        raise EgressError("an array is not what was asked for", found=f"{vector.size} of {payload}",
                          expected=f"{sum(sizes)} numbers of {asked.payload}",
                          fix="report this as a fault of the program")
    pieces = np.split(vector, np.cumsum(sizes)[:-1])
    return tuple(TensorRecord(name=name, shape=tuple(like[name].shape), dtype=payload,
                              norm=_norm(piece))
                 for name, piece in zip(sorted(like), pieces, strict=True)
                 ), digest_bytes(vector.tobytes())


def _norm(numbers: np.ndarray[Any, Any]) -> float:
    """Return the L2 norm, in float64; a number that is not finite may not leave.

    Raises:
        EgressError: There is one.
    """
    norm = float(np.linalg.norm(numbers.astype(np.float64)))
    if not np.isfinite(norm):
        raise EgressError("an array holds what is no number", expected="finite numbers",
                          found="NaN or infinity", fix="lower the plan's learning rate")
    return norm


def _like(kind: str, plan: Plan, stage: StageName) -> State:
    """Return names and shapes of the array that a task is answered by; none where it is by none."""
    if kind.startswith("train."):
        return network_like(plan, stage)
    return moments_like(plan) if kind == "query.moments" else {}
