"""The gate: what leaves a site is looked at, held to its settings, and written down before it goes."""

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from pydantic import ValidationError

from braing3n.budget import EgressConfig
from braing3n.errors import EgressError
from braing3n.files import digest_bytes
from braing3n.manifests import Content, TensorRecord, manifest_line
from braing3n.networks import moments_like, network_like
from braing3n.payloads import BYTES, PayloadType
from braing3n.plan import StageName
from braing3n.protocol import Hello, Reply, Task
from braing3n.weights import State, doubles_from_npy, read_payload
from client import holding
from client.approval import check_plan
from client.egress_log import append_manifest
from client.site import Site, check_task

_MB = 10**6


def check_asked(site: Site, message: Message) -> None:
    """Refuse, before any work and any charge, what could not leave afterwards.

    Raises:
        PlanError: The site does not work on the plan.
        EgressError: The array that is asked for has other tensors than the settings let out, or is
            larger.
    """
    kind, task = message.metadata.message_type, task_of(message)
    if task is None:
        return
    check_plan(site, check_task(task))
    like = _like(kind, task)
    size = BYTES[_payload(kind, task)] * sum(tensor.numel() for tensor in like.values())
    check_tensors(site.config.egress, task.stage, list(like), size)


def let_out(site: Site, message: Message, reply: Message) -> Message:
    """Return a reply with its manifest, once the manifest is in the site's log.

    Args:
        site: The site.
        message: What was asked.
        reply: What a handler answers.

    Raises:
        EgressError: The reply holds something that the settings do not let out, or a person did not
            let it out.
        LedgerError: The site's log of what left is damaged or gone.
    """
    text, fields = _described(site, message, reply.content)
    if site.config.egress.hold or holding.is_on(site.config.state_dir):
        until = message.metadata.created_at + message.metadata.ttl
        holding.wait_for_release(site, Content(**fields), text, until)
    manifest = append_manifest(site.config.state_dir, Content(**fields))
    reply.content["manifest"] = ConfigRecord({"json": manifest_line(manifest).decode()})
    return reply


def task_of(message: Message) -> Task | None:
    """Return a message's task; None where it asks without one, or with something else."""
    try:
        return Task.model_validate_json(str(message.content.config_records["message"]["json"]))
    except (KeyError, ValidationError):
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


def _described(site: Site, message: Message, content: RecordDict) -> tuple[str, dict[str, Any]]:
    """Return the report, and a manifest's fields, after holding the content to the settings."""
    text, data = _only_known(content)
    kind, task = message.metadata.message_type, task_of(message)
    report = _read_report(text, site.config.name)
    tensors, digest = _tensors(kind, task, data)
    num_bytes = len(text.encode()) + (0 if data is None else len(data))
    if task is not None:
        check_tensors(site.config.egress, task.stage, [one.name for one in tensors], num_bytes)
    norm = sum(one.norm**2 for one in tensors) ** 0.5
    most = site.config.egress.max_norm
    if most is not None and kind.startswith("train.") and norm > most:
        raise EgressError("an update is too long to leave", expected=f"an L2 norm of at most {most:g} "
                          "(`egress: max_norm:`)", found=f"{norm:.6g}",
                          fix="allow more in the site's settings, or lower the plan's learning rate")
    asked = {} if task is None else {"run": task.run, "stage": task.stage,
                                     "round_index": task.round_index, "plan_digest": task.plan_digest}
    told = {} if isinstance(report, Hello) else {"metrics": report.metrics, "privacy": report.privacy}
    return text, {"site": site.config.name, "kind": kind, "tensors": tensors, "num_bytes": num_bytes,
                  "array_digest": digest, "report_digest": digest_bytes(text.encode()),
                  **asked, **told}


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


def _tensors(kind: str, task: Task | None, data: bytes | None,
             ) -> tuple[tuple[TensorRecord, ...], str | None]:
    """Return what an array holds, and the sha256 of its numbers."""
    if data is None:
        return (), None
    if kind == "query.probe":
        sums = doubles_from_npy([data])
        return (TensorRecord(name="sums", shape=sums.shape, dtype="float64", norm=_norm(sums)),
                ), digest_bytes(sums.tobytes())
    vector, payload = read_payload([data])
    like = {} if task is None else _like(kind, task)
    sizes = [like[name].numel() for name in sorted(like)]
    planned = None if task is None else _payload(kind, task)
    if (sum(sizes), planned) != (vector.size, payload):
        raise EgressError("an array is not what was asked for", found=f"{vector.size} of {payload}",
                          expected=f"{sum(sizes)} numbers of {planned}",
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


def _payload(kind: str, task: Task) -> PayloadType:
    """Return in which type the array that a task is answered by travels."""
    return check_task(task).stage(task.stage).payload if kind.startswith("train.") else "float32"


def _like(kind: str, task: Task) -> State:
    """Return names and shapes of the array that a task is answered by; none where it is by none."""
    if kind.startswith("train."):
        return network_like(check_task(task), task.stage)
    return moments_like(check_task(task)) if kind == "query.moments" else {}
