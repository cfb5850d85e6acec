"""What of Flower's insides a site's programs rest on: after an update, this says what has moved."""

import inspect

import httpx
import pytest

from braing3n.service.pieces import WAITS
from client.node import flower


@pytest.mark.parametrize("name", flower.__all__)
def test_every_private_name_is_there(name: str) -> None:
    assert getattr(flower, name) is not None


@pytest.mark.parametrize(("module", "names"), [
    ("node_loop", ("time", "_init_connection", "_push_messages")),
    ("node_connection", ("FleetHttpClient",)),
    ("executor_loop", ("get_executor",)),
    ("task_process", ("pull_task_input", "install_from_fab", "get_load_client_app_fn")),
])
def test_what_is_replaced_is_used_by_its_own_module(module: str, names: tuple[str, ...]) -> None:
    source = inspect.getsource(getattr(flower, module))
    for name in names:
        assert hasattr(getattr(flower, module), name)
        assert source.count(name) >= 2  # where it comes from, and where it is used


def test_the_loop_takes_from_a_connection_what_we_put_in_between() -> None:
    parameters = list(inspect.signature(flower.node_loop._init_connection).parameters)
    assert parameters[:4] == ["server_address", "insecure", "root_certificates", "authentication_keys"]
    source = inspect.getsource(flower.node_loop.start_client_internal)
    order = ["node_id", "receive", "send", "get_run", "get_fab", "pull_object", "push_object",
             "confirm_message_received"]
    assert "".join(f"            {name},\n" for name in order) + "        ) = conn" in source
    assert "time.sleep(3)" in source


def test_the_loop_waits_for_a_reply_by_the_clock_that_we_put_in_place() -> None:
    source = inspect.getsource(flower.node_loop._push_messages)
    assert list(inspect.signature(flower.node_loop._push_messages).parameters) == [
        "state", "object_store", "send", "push_object"]
    assert source.count("while ") == source.count("time.sleep(0.5)") == 2
    called = inspect.getsource(flower.node_loop.start_client_internal)
    assert "_push_messages(\n                state=state," in called  # by their names


def test_the_functions_that_fetch_pieces_have_the_pauses_that_we_shorten() -> None:
    for function in (flower.pull_objects, flower.pull_and_inflate_object_from_tree):
        assert WAITS.keys() <= (function.__kwdefaults__ or {}).keys()
    called = inspect.getsource(flower.node_loop._pull_and_store_message)
    assert "backoff" not in called  # by the defaults
    assert "backoff" not in inspect.getsource(flower.task_process.pull_task_input)


def test_an_answer_of_the_server_can_be_looked_at_before_it_is_read() -> None:
    with flower.FleetHttpClient.from_server_address("127.0.0.1:1", True, None, []) as client:
        assert isinstance(client._client, httpx.Client)
    source = inspect.getsource(flower.FleetHttpClient._send)
    assert "self._client.send(current_context.request)" in source


def test_every_call_to_the_server_goes_through_one_method() -> None:
    source = inspect.getsource(flower.FleetHttpClient)
    assert source.count("self._unary_unary(") == source.count("    def ")


def test_an_executor_is_asked_for_what_ours_has() -> None:
    from client.node.executor import ForkedTasks

    source = inspect.getsource(flower.executor_loop.run_superexec)
    used = {name for name in ("get_eligible_capacity", "reconcile", "close")
            if f"executor.{name}" in source}
    assert used == {"get_eligible_capacity", "reconcile", "close"}
    assert all(hasattr(ForkedTasks, name) for name in (*used, "launch", "wait_for_capacity"))
