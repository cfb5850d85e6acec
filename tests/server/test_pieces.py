"""A piece of a reply that is not there yet is asked for again soon, in Flower's own function."""

import threading
from collections.abc import Iterator

import pytest
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError, pull_objects

from server.pieces import fetch_soon


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = dict(pull_objects.__kwdefaults__)
    yield
    pull_objects.__kwdefaults__.update(before)


def test_flower_pauses_shortly_between_two_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Recording(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is None:
                return super().wait()
            pauses.append(timeout)
            return False

    monkeypatch.setattr(threading, "Event", Recording)
    asked: list[str] = []

    def pull(name: str) -> bytes:
        asked.append(name)
        if len(asked) <= 501:  # Flower gives up after 500
            raise ObjectUnavailableError(name)
        return b"there"

    fetch_soon()
    assert pull_objects(["one"], pull) == {"one": b"there"}
    assert len(pauses) == 501
    assert pauses[0] <= 0.06  # Flower adds or takes a fifth
    assert 0.8 <= pauses[-1] <= 1.2
