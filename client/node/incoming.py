"""What a server may send for one message: no more than fits, and nothing that blocks the site."""

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from client.node import flower

# What a message may come to: the weights of the largest preset are 0.82 GB.
MAX_MESSAGE_BYTES = 2 << 30
# What the answer to one question may come to: Flower cuts arrays into pieces of 5 MB.
MAX_ANSWER_BYTES = 16 << 20

Received = tuple[Any, flower.ObjectTree]  # Flower's message without its content, and what it is made of


class BoundedClient(flower.FleetHttpClient):
    """Flower's client of the server, which reads no more of an answer than MAX_ANSWER_BYTES."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._client.event_hooks = {"response": [_bound]}


def _bound(answer: httpx.Response) -> None:
    """Have no more read of an answer than it may hold, as it is and not unpacked from less."""
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise ValueError("the server's answer is packed")
    answer.stream = _Bounded(answer.stream)


class _Bounded(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = MAX_ANSWER_BYTES
        for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise ValueError(f"the server's answer is larger than {MAX_ANSWER_BYTES} bytes")
            yield piece

    def close(self) -> None:
        self._stream.close()


class Incoming:
    """Looks at messages and counts what comes for each.

    A message that is too large or put together wrongly is shown to Flower's loop without its content:
    so a task of the site finds that it cannot be read, answers that with a fixed word, and records it.
    One that nobody could answer is dropped.

    Args:
        receive: Flower's: gives a message without its content, or None.
        pull: Flower's: gives one piece of content.
    """

    def __init__(
        self, receive: Callable[[], Received | None], pull: Callable[[int, str], bytes],
    ) -> None:
        self._receive = receive
        self._pull = pull
        self._counting = threading.Lock()  # Flower pulls pieces in several threads
        self._bytes = 0
        self._now: Received | None = None
        self._refused: Received | None = None

    def receive(self) -> Received | None:
        """Give the next message, or one that was refused, without its content."""
        with self._counting:
            self._bytes = 0
            self._now, self._refused = self._refused, None
        if self._now is not None:
            return self._now
        try:
            received = self._receive()
            if received is None:
                return None
            message, tree = received
            if not _can_be_answered(message, tree):
                raise ValueError("it has no name of its own")
        except (ValueError, TypeError, LookupError) as error:
            _tell(f"a message was dropped: {error}")
            return None
        if not _is_sound(tree):
            _tell("a message is refused: it names a piece twice, of different parts")
            return _without_content(message)
        self._now = received
        return received

    def pull(self, run_id: int, object_id: str) -> bytes:
        """Give a piece of the message.

        Raises:
            ValueError: There is more than a message may hold; Flower then drops the message.
        """
        content = self._pull(run_id, object_id)
        with self._counting:
            self._bytes += len(content)
            if self._bytes <= MAX_MESSAGE_BYTES:
                return content
            if self._now is not None:
                self._refused, self._now = _without_content(self._now[0]), None
                _tell(f"a message is refused: it is larger than {MAX_MESSAGE_BYTES} bytes")
        raise ValueError(f"refused: a message of more than {MAX_MESSAGE_BYTES} bytes")


def _without_content(message: Any) -> Received:
    return message, flower.ObjectTree(object_id=message.metadata.message_id)


def _can_be_answered(message: Any, tree: flower.ObjectTree) -> bool:
    about = message.metadata
    return (flower.is_valid_sha256_hash(about.message_id) and about.message_id == tree.object_id
            and not about.reply_to_message_id)


def _is_sound(tree: flower.ObjectTree) -> bool:
    """Return whether a name stands for the same parts wherever it is in a tree.

    Flower keeps what it saw first: a few names could then unfold to more than any memory holds.
    """
    seen: dict[str, tuple[str, ...]] = {}
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        waiting += one.children
        parts = tuple(child.object_id for child in one.children)
        if not flower.is_valid_sha256_hash(one.object_id):
            return False
        if seen.setdefault(one.object_id, parts) != parts:
            return False
    return True


def _tell(what: str) -> None:
    sys.stderr.write(f"ERROR: {what}\n")
