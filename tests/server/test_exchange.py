import time
from typing import Any

import pytest
from flwr.app import RecordDict

from server.exchange import POLL_S, Exchange
from simulation.grid import LocalGrid


class SlowGrid:
    """Takes a while to say that there is no reply yet, as one over a network does."""

    ASKING_S = 0.002

    def __init__(self) -> None:
        self.asked = 0

    def get_node_ids(self) -> list[int]:
        return list(range(100))

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
