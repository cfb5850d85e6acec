"""Flower messages of the coordinator: built, and read with suspicion."""

from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from pydantic import ValidationError

from braing3n.errors import ProtocolError
from braing3n.protocol import FIRST_CODE, Reply, Task, fixed_word
from braing3n.weights import Doubles, Vector, doubles_from_npy, vector_from_npy

# The coordinator's words for sites that cannot be asked.
UNREACHABLE, REVOKED = "unreachable", "revoked"


@dataclass(frozen=True)
class Member:
    """A site that takes part in this run.

    Attributes:
        name: Its agreed name.
        node_id: Flower's; None while it cannot be asked, whoever is there.
        absent: Why that is, in one word: `unreachable` where it has not said hello since the run went
            on, `revoked` where it is not enrolled any more.
    """

    name: str
    node_id: int | None
    absent: str | None = None


def record(task: Task, weights: Vector | Doubles | None) -> RecordDict:
    """Return the content of a message. Build it once a round: sites share its bytes in memory."""
    content = RecordDict({"message": ConfigRecord({"json": task.model_dump_json()})})
    if weights is not None:
        content["arrays"] = ArrayRecord({"weights": Array(weights)}, keep_input=True)
    return content


def size_of(content: RecordDict) -> int:
    """Return the payload of a message in bytes, without the transport's framing."""
    arrays = sum(len(array.data) for rec in content.array_records.values() for array in rec.values())
    texts = sum(len(str(value)) for rec in content.config_records.values() for value in rec.values())
    return arrays + texts


def refusal_of(node: int, reply: Message) -> str:
    """Return the word for a failure: the site's own, or `unreachable` where Flower answers for it.

    The server's Flower does where the node is gone, the node's own where the process died that was at
    work on the message. Any other text than our fixed words is dropped.
    """
    if reply.metadata.src_node_id != node or reply.error.code < FIRST_CODE:
        return UNREACHABLE
    return fixed_word(reply.error.reason or "")


def read_reply(reply: Message, name: str, task: Task) -> Reply:
    """Return the report of a reply that belongs to this task and this site.

    Raises:
        ProtocolError: It does not.
    """
    fix = "look into that site's log"
    try:
        report = Reply.model_validate_json(read_text(reply))
    except (ValidationError, KeyError) as error:
        raise ProtocolError("a reply cannot be read", expected="our JSON", found="other text",
                            fix=fix) from error
    expected = (name, task.stage, task.round_index, task.plan_digest)
    found = (report.site, report.stage, report.round_index, report.plan_digest)
    if found != expected:
        raise ProtocolError("a reply belongs to another task", expected=str(expected),
                            found=str(found), fix=fix)
    return report


def read_text(reply: Message) -> str:
    """Return the JSON text of a reply.

    Raises:
        KeyError: There is none.
    """
    return str(reply.content.config_records["message"]["json"])


def read_vector(reply: Message) -> Vector:
    """Return the flat array of a reply.

    Raises:
        ProtocolError: There is not exactly one float32 array.
    """
    return vector_from_npy(_arrays(reply))


def read_doubles(reply: Message) -> Doubles:
    """Return the flat float64 array of a reply about probes, which may be empty.

    Raises:
        ProtocolError: There is more than one array, or another one.
    """
    contents = _arrays(reply)
    return doubles_from_npy(contents) if contents else np.zeros(0)


def _arrays(reply: Message) -> list[bytes]:
    return [array.data for rec in reply.content.array_records.values() for array in rec.values()]
