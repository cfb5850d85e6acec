"""What stands between Flower's loop and the server: bundles, sizes, numbers, pauses."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
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
from client.node.losses import Losses, LostError
from client.node.place import NotKnownError, Place
from client.node.running import NOT_KNOWN
from client.node.supernode import Bundles, Clock, guarded, marking
from tests.client.node.test_bundle import packed


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


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


def test_a_bundle_that_was_too_large_to_be_read_is_shown_as_refused(capsys) -> None:
    def get_fab(digest, run_id):
        raise ValueError("the server's answer is larger than 16777216 bytes")

    bundles = Bundles(lambda _: Run.create_empty(5), get_fab, None)
    run = bundles.get_run(5)
    assert is_refused(bundles.get_fab(run.fab_hash, 5).content)
    assert "larger than" in capsys.readouterr().err


def test_the_loop_of_flower_takes_both_bundles(half_node) -> None:
    half_node.put("query.hello", refused=True)  # raises where Flower cannot read the definition
    assert half_node.reply().error.reason == "code"


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


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock in place of Flower's."""
    made = Clock()
    monkeypatch.setattr(flower.node_loop, "time", made)
    return made


def test_a_reply_is_waited_for_and_sent_whole(half_node, clock) -> None:
    half_node.put("query.hello")
    sent = half_node.push(clock.waiting(flower.node_loop._push_messages))
    assert [one.has_error() for one in sent] == [False]
    clock.sleep(0.01)  # nothing is waited for any more
    clock.sleep(0.01)


def test_a_task_that_works_for_long_is_waited_for(half_node, clock) -> None:
    with half_node.held("record_message_processing_start") as there:
        half_node.put("query.hello")
        assert there.wait(20)
        clock._count_tasks = lambda: len(half_node.state.get_tasks(statuses=["running"]))
        for _ in range(4):
            clock.sleep(0.01)
        clock._count_tasks = None
    assert not half_node.reply().has_error()


def test_a_reply_that_came_just_before_its_task_ended_is_looked_for_once_more(clock) -> None:
    class State:
        def get_tasks(self, *, statuses):
            assert statuses
            return []

    def push(*, state) -> None:
        clock.sleep(0.01)  # Flower looks for replies before each pause
        reached.append(1)
        clock.sleep(0.01)
        reached.append(2)

    reached: list[int] = []
    with pytest.raises(LostError):
        clock.waiting(push)(state=State())
    assert reached == [1]


@pytest.mark.parametrize("when", ["activate_task", "store_object"])
def test_a_task_that_was_killed_without_its_whole_answer_is_not_waited_for_for_ever(
    half_node, clock, when: str,
) -> None:
    with half_node.held(when) as there:  # before it has its message, or while it hands over its reply
        run = half_node.put("query.hello")
        assert there.wait(20)
        for task in half_node.tasks():
            os.kill(task, signal.SIGKILL)
    wait_until(lambda: half_node.state.get_tasks(run_ids=[run], statuses=["running"]))
    half_node.expire()
    came: list[object] = []

    def wait() -> None:
        try:
            came.append(half_node.push(clock.waiting(flower.node_loop._push_messages)))
        except LostError as error:
            came.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(10)
    assert len(came) == 1
    # The loop ends, for the node to begin anew; or it says so and goes on with the next message.
    assert isinstance(came[0], LostError) if when == "activate_task" else came[0] == []
    half_node.state.delete_messages()
    half_node.put("query.hello")
    assert not half_node.reply().has_error()


def test_each_answer_of_the_server_is_marked_and_no_failure(tmp_path, monkeypatch) -> None:
    answers = iter([httpx.ConnectError("away"), "answer"])

    def ask(self, **asked):
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(flower.FleetHttpClient, "_unary_unary", ask)
    mark = tmp_path / "reached"
    with marking(mark, Losses())("http://127.0.0.1:1") as client:
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

    return guarded(connect, place, None, Losses())("host:1", False, b"", generate_key_pairs())


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


def failing(error: Exception) -> Callable[..., None]:
    def fails(*_: object) -> None:
        raise error

    return fails


@pytest.mark.parametrize(("number", "call"), [(2, "send"), (5, "pull"), (6, "push"), (7, "confirm")])
def test_the_node_ends_where_a_message_or_an_answer_did_not_get_through(place, number, call) -> None:
    calls: list[Callable[..., object]] = [lambda *_: None] * 7
    calls[number - 1] = failing(ValueError("the server gave something else"))

    @contextmanager
    def connect(*_, **__):
        yield (77, *calls)

    opened = guarded(connect, place, None, Losses())("host:1", False, b"", generate_key_pairs())
    with opened as connection:
        receive = connection[1]
        assert receive() is None
        with pytest.raises(ValueError, match="else"):  # Flower's loop writes it down, and goes on
            connection[number](1, "x")
        with pytest.raises(LostError, match="answer" if call in ("send", "push") else "message"):
            receive()
