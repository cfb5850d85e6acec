"""What stands between Flower's loop and the server: bundles, sizes, numbers, pauses."""

import contextlib
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from flwr.supercore.fab import Fab
from flwr.supercore.primitives.asymmetric import generate_key_pairs
from flwr.supercore.run import Run

from braing3n.files import digest_bytes
from client.node import flower, supernode
from client.node.bundle import is_refused
from client.node.place import NotKnownError, Place
from client.node.running import NOT_KNOWN
from client.node.supernode import Bundles, Clock, Limit, guarded, marking
from tests.client.node.test_bundle import packed


def shown(content: bytes, **run: object) -> tuple[Run, Fab]:
    """Return what Flower's loop gets where a server sends this bundle for a run."""
    asked = replace(Run.create_empty(5), fab_hash="hash", **run)  # type: ignore[arg-type]
    bundles = Bundles(lambda _: asked, lambda digest, run_id: Fab(digest, content, {}), None)
    run_seen = bundles.get_run(5)
    return run_seen, bundles.get_fab(run_seen.fab_hash, 5)


def test_the_loop_sees_our_bundle_and_nothing_of_the_servers_configuration() -> None:
    run, fab = shown(packed(), fab_id="x", override_config={"unknown": "key"})
    assert not is_refused(fab.content)
    assert run.fab_hash == digest_bytes(fab.content)  # Flower compares them
    assert (run.fab_id, run.override_config) == ("braing3n/braing3n", {})


@pytest.mark.parametrize("content", [b"", b"no zip", packed(**{"client/app.py": "import os"})])
def test_a_bundle_that_is_not_right_is_shown_as_refused_and_told(content, capsys) -> None:
    run, fab = shown(content)
    assert is_refused(fab.content)
    assert run.fab_hash == digest_bytes(fab.content)
    assert "the server's bundle is" in capsys.readouterr().err


def test_the_loop_of_flower_takes_both_bundles(half_node) -> None:
    half_node.put("query.hello", refused=True)  # raises where Flower cannot read the definition
    assert half_node.reply().error.reason == "code"


def test_a_message_of_too_many_bytes_is_dropped_and_the_next_is_counted_anew(monkeypatch) -> None:
    monkeypatch.setattr(supernode, "MAX_MESSAGE_BYTES", 10)
    limit = Limit(lambda: "message", lambda run_id, object_id: b"123456")
    limit.receive()
    assert limit.pull(1, "a") == b"123456"
    with pytest.raises(ValueError, match="refused"):
        limit.pull(1, "b")
    limit.receive()
    assert limit.pull(1, "c") == b"123456"


def test_flowers_pause_of_three_seconds_is_one() -> None:
    clock = Clock()
    began = time.monotonic()
    clock.sleep(3)
    assert 0.9 < time.monotonic() - began < 2
    assert clock.monotonic is time.monotonic


def test_after_a_message_the_server_is_asked_more_often_for_a_while(monkeypatch) -> None:
    messages = iter([None, "message"])
    clock = Clock()

    @contextmanager
    def connect():
        yield (77, lambda: next(messages), None)

    def pause() -> float:
        began = time.monotonic()
        clock.sleep(3)
        return time.monotonic() - began

    with clock.hearing(connect)() as (_, receive, _):
        receive()
        assert pause() > 0.9
        receive()
        assert pause() < 0.6
        monkeypatch.setattr(supernode, "BUSY_FOR_S", 0.0)
        assert pause() > 0.9


def test_each_answer_of_the_server_is_marked_and_no_failure(tmp_path, monkeypatch) -> None:
    answers = iter([httpx.ConnectError("away"), "answer"])

    def ask(self, **asked):
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(flower.FleetHttpClient, "_unary_unary", ask)
    mark = tmp_path / "reached"
    with marking(mark)("http://127.0.0.1:1") as client:
        with pytest.raises(httpx.ConnectError):
            client.PullMessages(None)
        assert not mark.exists()
        assert client.PullMessages(None) == "answer"
    assert mark.exists()


class FakePlace(Place):
    """A place that the server knows, or not."""

    is_known = True

    def give_back(self, *_):
        if not self.is_known:
            raise NotKnownError
        return False


def connecting(place: Place, *, takes: bool):
    @contextmanager
    def connect(*_, **__):
        if not takes:
            sys.exit(1)  # as Flower's own does
        yield (77, None, None, None, None, None, None, None)

    return guarded(connect, place, None)("host:1", False, b"", generate_key_pairs())


@pytest.fixture
def place(tmp_path: Path) -> FakePlace:
    return FakePlace(tmp_path / "node.json")


def test_a_key_that_is_known_by_no_number_and_not_taken_is_refused(place, capsys) -> None:
    place.__class__.is_known = False
    try:
        with pytest.raises(SystemExit), connecting(place, takes=False):
            pass
    finally:
        place.__class__.is_known = True
    assert NOT_KNOWN in capsys.readouterr().err


def test_a_key_that_the_server_has_by_another_number_now_is_not_refused(place, capsys) -> None:
    place.__class__.is_known = False
    try:
        with contextlib.suppress(SystemExit), connecting(place, takes=True) as connection:
            assert connection[0] == 77
            sys.exit(0)  # told to stop
    finally:
        place.__class__.is_known = True
    assert place.path.exists()
    assert capsys.readouterr().err == ""


def test_a_known_key_that_is_not_taken_now_is_not_called_unknown(place, capsys) -> None:
    with pytest.raises(SystemExit), connecting(place, takes=False):
        pass
    assert NOT_KNOWN not in capsys.readouterr().err
