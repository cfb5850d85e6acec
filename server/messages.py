"""Flower messages of the coordinator: built, exchanged one by one, and read with suspicion."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from braing3n.protocol import Task, fixed_word
from braing3n.weights import Doubles, Vector, doubles_from_npy, vector_from_npy

POLL_S = 0.1
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True)
class Member:
    """A site that takes part in this run."""

    name: str
    node_id: int


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


def exchange(
    grid: Grid, messages: Sequence[Message], timeout_s: float
) -> Iterator[tuple[int, Message]]:
    """Send messages and give each reply as it arrives, holding no other.

    Flower's `send_and_receive` keeps every reply until the last is in, which at n sites takes the
    memory of n models.

    Yields:
        The node that was asked, and the reply. Flower itself answers for a node that is gone, so
        the sender of a reply does not tell who was asked.
    """
    pending: dict[str, int] = {}
    for message in messages:
        pending.update(dict.fromkeys(grid.push_messages([message]), message.metadata.dst_node_id))
    deadline = time.monotonic() + timeout_s
    while pending and time.monotonic() < deadline:
        began, arrived = time.monotonic(), False
        for message_id, node in list(pending.items()):
            for reply in grid.pull_messages([message_id]):
                arrived = True
                pending.pop(message_id, None)
                yield node, reply
                _release(reply)
        if not arrived:  # hundreds of questions take long: ask for a tenth of the time at most
            pause_s = min(max(POLL_S, 9 * (time.monotonic() - began)), LONGEST_PAUSE_S)
            time.sleep(min(pause_s, max(deadline - time.monotonic(), 0)))


def _release(reply: Message) -> None:
    """Let go of a reply's arrays now.

    Flower's records are in reference cycles, which Python's collector finds late; until then each
    would hold the memory of a model.
    """
    if reply.has_content():
        for arrays in reply.content.array_records.values():
            arrays.clear()


def refusal_of(node: int, reply: Message) -> str:
    """Return the word for a failure: the site's own, or `unreachable` where Flower answers for it.

    Any other text than our fixed words is dropped.
    """
    if reply.metadata.src_node_id != node:
        return "unreachable"
    return fixed_word(reply.error.reason or "")


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
