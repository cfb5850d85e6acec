import time
from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo

from server.exchange import POLL_S, Exchange
from simulation.grid import LocalGrid


class SlowGrid:
    """Takes a while to say that there is no reply yet, as one over a network does."""

    ASKING_S = 0.002

    def __init__(self) -> None:
        self.asked = 0

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=number) for number in range(100)]

    def push_messages(self, messages: list[Any]) -> list[str]:
        return [str(message.metadata.dst_node_id) for message in messages]

    def pull_messages(self, message_ids: list[str]) -> list[Any]:
        self.asked += 1
        time.sleep(self.ASKING_S)
        return []


def test_asking_many_silent_sites_takes_a_fifth_of_the_time() -> None:
    LocalGrid(None, 0, {})  # type: ignore[arg-type]  # lets messages be made, as a grid does
    grid = SlowGrid()
    contents = dict.fromkeys(range(100), RecordDict())
    began = time.monotonic()
    exchange = Exchange(grid, "evaluate", contents, began + 2)  # type: ignore[arg-type]
    assert list(exchange.replies()) == []
    elapsed = time.monotonic() - began
    assert not exchange.lost
    assert grid.asked >= 100
    # A sweep takes 0.2 s at least, and four times as long nothing is asked: two fit into 2 s.
    assert grid.asked <= 300
    assert elapsed < 4


def test_sending_and_what_is_found_do_not_lengthen_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    class LargeGrid(SlowGrid):
        ASKING_S = 0.0

        def push_messages(self, messages: list[Any]) -> list[str]:
            clock.append(clock.pop() + 30.0)
            return super().push_messages(messages)

        def pull_messages(self, message_ids: list[str]) -> list[Any]:
            clock.append(clock.pop() + 0.001)
            return []

    clock, pauses = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.append(clock.pop() + seconds)

    monkeypatch.setattr("server.exchange.time.monotonic", lambda: clock[-1])
    monkeypatch.setattr("server.exchange.time.sleep", sleep)
    exchange = Exchange(LargeGrid(), "evaluate", {1: RecordDict()}, 40.0)  # type: ignore[arg-type]
    assert list(exchange.replies()) == []
    assert pauses[0] == POLL_S


class RestartedGrid(LocalGrid):
    """A node that was handed a message and started anew before it knew of it."""

    def __init__(self, app: Any, num_sites: int) -> None:
        super().__init__(app, num_sites, {})
        self.sent: list[Message] = []
        self.since = "before"
        self.is_handed_out = False

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=node, last_activated_at=self.since) for node in self.get_node_ids()]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self.sent += messages
        return list(super().push_messages(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> list[Any]:
        if not self.is_handed_out:  # to a node that never had it, and now there is another
            self.is_handed_out = True
            for identifier in message_ids:
                self._pushed.pop(identifier)
            self.since = "after"
        return list(super().pull_messages(message_ids))


def echo(message: Message, context: Any) -> Message:
    del context
    return Message(RecordDict(), reply_to=message)


def test_a_node_that_was_started_anew_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.exchange.LOOK_S", 0.05)
    grid = RestartedGrid(echo, 1)
    node = grid.get_node_ids()[0]
    exchange = Exchange(grid, "query.hello", {node: RecordDict()}, time.monotonic() + 20)
    replies = list(exchange.replies())
    assert [at for at, reply in replies if reply.has_content()] == [node]
    assert len(grid.sent) == 2


def test_a_node_that_takes_its_time_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.exchange.LOOK_S", 0.0)
    grid = RestartedGrid(echo, 1)
    grid.is_handed_out = True
    node, real, looks = grid.get_node_ids()[0], grid.pull_messages, iter(range(5))
    monkeypatch.setattr(grid, "pull_messages", lambda ids: real(ids) if next(looks) == 4 else [])
    exchange = Exchange(grid, "query.hello", {node: RecordDict()}, time.monotonic() + 20)
    assert len(list(exchange.replies())) == 1
    assert len(grid.sent) == 1
