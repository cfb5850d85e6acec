"""SuperLink's Control API, and the private names of Flower's that are used for it."""

import importlib
import os
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.common.constant import Status
from flwr.proto.control_pb2 import (
    ListNodesResponse,
    ListRunsResponse,
    RegisterNodeResponse,
    StopRunResponse,
    UnregisterNodeResponse,
)
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.run_pb2 import Run, RunStatus
from flwr.supercore.constant import NodeStatus
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, uses_nist_ec_curve

from braing3n.enrolment.certificates import new_key
from braing3n.enrolment.node_keys import node_key_text
from braing3n.errors import RunFailedError
from braing3n.service.ports import free_port
from server.network.control import Control, FlowerRun, Node, open_control


def test_all_private_names_of_flower_are_there():
    found = importlib.import_module("server.network.control")
    assert all(hasattr(found.ControlHttpClient, name) for name in (
        "from_server_address", "ListNodes", "RegisterNode", "UnregisterNode", "ListRuns", "StopRun"))
    assert found.RuntimeVersionHttpInterceptor(component_name="flwr CLI")
    assert Status.FINISHED == "finished"
    assert (NodeStatus.REGISTERED, NodeStatus.ONLINE, NodeStatus.OFFLINE, NodeStatus.UNREGISTERED) == (
        "registered", "online", "offline", "unregistered")


class FakeClient:
    """Answers as Flower's client does, and keeps what it is asked."""

    def __init__(self, **answers):
        self.asked = []
        self.answers = answers

    def __getattr__(self, name):
        def ask(request):
            self.asked.append((name, request))
            return self.answers[name]

        return ask


def test_a_node_has_the_key_that_the_roster_has():
    key = new_key().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    control = Control(FakeClient(ListNodes=ListNodesResponse(nodes_info=[
        NodeInfo(node_id=(1 << 63) + 5, public_key=pem, status="online")])))
    assert control.nodes() == [Node((1 << 63) + 5, node_key_text(key), "online")]


def test_a_sites_key_is_registered_as_flower_reads_it():
    key = new_key().public_key()
    client = FakeClient(RegisterNode=RegisterNodeResponse(node_id=7))
    assert Control(client).register(node_key_text(key), "hospital-a") == 7
    (_, request), = client.asked
    sent = bytes_to_public_key(request.public_key)
    assert uses_nist_ec_curve(sent)
    assert sent == key
    assert request.name == "hospital-a"


def test_runs_are_told_by_whether_they_are_over_and_why():
    control = Control(FakeClient(ListRuns=ListRunsResponse(run_dict={
        1: Run(run_id=1, status=RunStatus(status="pending")),
        2: Run(run_id=2, status=RunStatus(status="running")),
        3: Run(run_id=3, status=RunStatus(status="finished", sub_status="failed", details="why"))})))
    alive = FlowerRun(is_alive=True, why="")
    assert control.runs() == {1: alive, 2: alive, 3: FlowerRun(is_alive=False, why="why")}


def test_a_run_is_stopped_and_a_node_shut_out_by_number():
    client = FakeClient(StopRun=StopRunResponse(success=True), UnregisterNode=UnregisterNodeResponse())
    Control(client).stop(3)
    Control(client).unregister(4)
    (_, stopped), (_, shut_out) = client.asked
    assert (stopped.run_id, shut_out.node_id) == (3, 4)


def test_superlink_is_asked_by_tls_with_the_loopback_ca(places, serve_upstream):
    upstream = serve_upstream()
    places.write_port(upstream.port)
    with open_control(places) as control:
        assert control.nodes() == []
    assert upstream.seen == [("POST", "/v1/control/list-nodes")]


def test_a_proxy_is_not_asked_for_it_and_the_environment_does_not_grow(
        places, serve_upstream, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "elsewhere")
    places.write_port(serve_upstream().port)
    for _ in range(3):
        with open_control(places) as control:
            assert control.nodes() == []
    assert os.environ["NO_PROXY"] == "127.0.0.1,elsewhere"


def test_a_superlink_that_does_not_answer_is_told_with_where_to_look(places):
    places.write_port(free_port())
    with pytest.raises(RunFailedError, match="not answer") as told, open_control(places) as control:
        control.nodes()
    assert told.value.found == "ConnectError"
    assert "log of `braing3n server start`" in told.value.fix


def test_a_superlink_that_refuses_is_told_with_its_answer(places, serve_upstream):
    places.write_port(serve_upstream(status=403).port)
    with pytest.raises(RunFailedError, match="403"), open_control(places) as control:
        control.nodes()


def test_another_program_on_its_port_is_not_talked_to(config, places, serve_upstream):
    # With the certificate that sites trust: the loopback port has a CA of its own.
    own = SimpleNamespace(certificate=config.server_certificate, key=config.server_key)
    upstream = serve_upstream(own=own)
    places.write_port(upstream.port)
    with pytest.raises(RunFailedError), open_control(places) as control:
        control.nodes()
    assert upstream.seen == []


def test_before_the_first_start_it_is_said_that_there_was_none(places):
    with pytest.raises(RunFailedError, match="has not been started"), open_control(places):
        pass


def test_errors_of_those_who_use_it_stay_theirs(places, serve_upstream):
    places.write_port(serve_upstream().port)
    with pytest.raises(ValueError, match="mine"), open_control(places):
        raise ValueError("mine")
