"""A message or an answer that was lost on the way ends the SuperNode, so that it is asked again."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest

from client.node import flower
from client.node.losses import Losses, LostError, may_hold_a_message
from client.node.supernode import marking


def failing(error: Exception) -> Callable[..., Any]:
    def fails() -> None:
        raise error

    return fails


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "https://server/v1/fleet/pull-messages")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(code))


@pytest.mark.parametrize("error", [
    httpx.ReadError("broken"), httpx.ReadTimeout("late"), httpx.RemoteProtocolError("gone"),
    httpx.WriteError("broken"), status(502), status(504), status(500), ValueError("too large"),
], ids=repr)
def test_an_answer_that_did_not_come_may_have_held_a_message(error: Exception) -> None:
    assert may_hold_a_message(error)


@pytest.mark.parametrize("error", [
    httpx.ConnectError("refused"), httpx.ConnectTimeout("late"), httpx.PoolTimeout("late"), status(503),
    status(403), status(401),
], ids=repr)
def test_where_the_server_was_not_asked_or_said_no_nothing_is_lost(error: Exception) -> None:
    assert not may_hold_a_message(error)


def test_a_loss_ends_the_next_question_for_a_message_and_not_the_task_at_work() -> None:
    losses = Losses()
    receive = losses.checked(lambda: None)
    assert receive() is None
    with pytest.raises(httpx.ReadError):
        losses.watched(failing(httpx.ReadError("broken")), "an answer")()
    with pytest.raises(LostError, match="an answer"):
        receive()


def test_a_message_that_comes_after_a_loss_is_answered_before_the_end() -> None:
    losses = Losses()
    found = iter(["message"])

    def ask() -> Any:
        with pytest.raises(httpx.ReadError):
            losses.watched(failing(httpx.ReadError("broken")), "an answer")()
        return next(found)

    receive = losses.checked(ask)
    assert receive() == "message"
    with pytest.raises(LostError):
        receive()


@pytest.mark.parametrize("error", [
    flower.RunNotRunningException(), flower.ObjectUnavailableError("piece"),
    httpx.ConnectError("refused"),
], ids=repr)
def test_a_run_that_is_over_and_what_is_tried_again_are_no_losses(error: Exception) -> None:
    losses = Losses()
    with pytest.raises(type(error)):
        losses.watched(failing(error), "an answer")()
    assert losses.checked(lambda: None)() is None


class BreakingServer:
    """Takes each connection and a request, and breaks off before it answers."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                if connection.recv(1 << 16):
                    self.asked.set()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def test_flowers_client_tells_of_a_line_that_breaks_after_a_question_for_work(tmp_path) -> None:
    server, losses = BreakingServer(), Losses()
    client = marking(tmp_path / "reached", losses).from_server_address(
        f"127.0.0.1:{server.port}", True, None, [])
    with client, pytest.raises(httpx.TransportError):
        client.PullMessages(PullMessagesRequest())
    server.close()
    assert server.asked.is_set()
    with pytest.raises(LostError, match="may have held a message"):
        losses.checked(lambda: None)()


def test_a_question_for_something_else_that_breaks_is_no_loss(tmp_path) -> None:
    server, losses = BreakingServer(), Losses()
    client = marking(tmp_path / "reached", losses).from_server_address(
        f"127.0.0.1:{server.port}", True, None, [])
    with client, pytest.raises(httpx.TransportError):
        client.DeactivateNode(flower.DeactivateNodeRequest(node_id=1))
    server.close()
    assert losses.checked(lambda: None)() is None


def test_nothing_listens_is_no_loss(tmp_path) -> None:
    losses = Losses()
    client = marking(tmp_path / "reached", losses).from_server_address("127.0.0.1:9", True, None, [])
    with client, pytest.raises(httpx.ConnectError):
        client.PullMessages(PullMessagesRequest())
    assert losses.checked(lambda: None)() is None
