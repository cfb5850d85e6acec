"""What a message asks for: read once, with everything that no coordinator of ours sends refused."""

import math
import time

from flwr.app import Message
from pydantic import ValidationError

from braing3n.errors import ProtocolError
from braing3n.moments import MAX_AHEAD_S
from braing3n.protocol import Task

# A task of a thousand sites, with a receipt for each, is below 2 MB.
MAX_TASK_CHARACTERS = 4 << 20
# What a round may take, and so what a held reply may wait.
MAX_TTL_S = 30 * 24 * 3600.0


def read_task(message: Message) -> Task:
    """Return a message's task.

    Raises:
        ProtocolError: It has none.
    """
    text = text_of(message)
    try:
        return Task.model_validate_json(text)
    except ValidationError as error:
        raise _unreadable("other content") from error


def text_of(message: Message) -> str:
    """Return the text that a message's task is in.

    Raises:
        ProtocolError: There is none, or it is longer than any task.
    """
    records = message.content.config_records if message.has_content() else {}
    text = records["message"].get("json") if "message" in records else None
    if not isinstance(text, str):
        raise _unreadable("no text")
    if len(text) > MAX_TASK_CHARACTERS:
        raise _unreadable(f"{len(text)} characters")
    return text


def waits_until(message: Message) -> float:
    """Return when the coordinator stops waiting for an answer, by `time.time`.

    Raises:
        ProtocolError: Its message is from the future, or lives for ever or not at all: a reply that
            waits for a person would hold up the site.
    """
    made, ttl = message.metadata.created_at, message.metadata.ttl
    # Written so that NaN, which is neither below nor above anything, is refused.
    if not (math.isfinite(made) and made < time.time() + MAX_AHEAD_S and 0 < ttl <= MAX_TTL_S):
        raise ProtocolError("a message has times that cannot be", found=f"made at {made}, for {ttl} s",
                            expected=f"made by now, for at most {MAX_TTL_S:.0f} s",
                            fix="set the coordinator's clock, or ask it for shorter rounds")
    return made + ttl


def _unreadable(found: str) -> ProtocolError:
    return ProtocolError("the task cannot be read", expected="our JSON", found=found,
                         fix="ask the coordinator")
