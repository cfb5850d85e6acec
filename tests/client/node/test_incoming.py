"""A server that sends too much, or what cannot be, is answered and does not end the node."""

import gzip
import http.server
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supernode.nodestate import NodeStateFactory
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.networks import network_like
from braing3n.plan import StageName, load_plan
from braing3n.presets import PRESETS
from client.node import flower, incoming
from client.node.incoming import BoundedClient, Incoming
from client.node.supernode import Bundles
from simulation.run import PLANS
from tests.client.node.test_bundle import packed

NAME, OTHER = "a" * 64, "b" * 64
Tree = flower.ObjectTree


class About:
    def __init__(self, message_id: str = NAME, reply_to: str = "", run_id: int = 1) -> None:
        self.message_id, self.reply_to_message_id, self.run_id = message_id, reply_to, run_id
        self.group_id = self.message_type = ""


class Sent:
    """A message as a server may send it."""

    def __init__(self, **about: Any) -> None:
        self.metadata = About(**about)


def test_a_message_of_too_many_bytes_comes_again_without_them(monkeypatch, capsys) -> None:
    monkeypatch.setattr(incoming, "MAX_MESSAGE_BYTES", 10)
    large = (Sent(), Tree(object_id=NAME, children=[Tree(object_id=OTHER)]))
    next_one = (Sent(message_id=OTHER), Tree(object_id=OTHER))
    waiting = [next_one, large]
    coming = Incoming(waiting.pop, lambda run_id, object_id: b"123456")
    assert coming.receive() == large
    assert coming.pull(1, OTHER) == b"123456"
    for _ in range(2):  # another thread of Flower's may be at it
        with pytest.raises(ValueError, match="refused"):
            coming.pull(1, NAME)
    assert coming.receive() == (large[0], Tree(object_id=NAME))
    assert coming.pull(1, NAME) == b"123456"
    assert coming.receive() == next_one
    assert coming.pull(1, OTHER) == b"123456"
    assert capsys.readouterr().err.count("larger than 10 bytes") == 1


def test_pieces_that_come_at_once_are_all_counted(monkeypatch) -> None:
    monkeypatch.setattr(incoming, "MAX_MESSAGE_BYTES", 20_000)
    together = threading.Barrier(8)

    def piece(run_id: int, object_id: str) -> bytes:
        together.wait()
        return b"x"

    coming = Incoming(lambda: (Sent(), Tree(object_id=NAME)), piece)
    coming.receive()
    threads = [threading.Thread(target=lambda: [coming.pull(1, NAME) for _ in range(1000)])
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert coming._bytes == 8000


@pytest.mark.parametrize("received", [
    (Sent(message_id=""), Tree(object_id="")),
    (Sent(message_id=OTHER), Tree(object_id=NAME)),
    (Sent(message_id="x"), Tree(object_id="x")),
    (Sent(reply_to=OTHER), Tree(object_id=NAME)),
])
def test_a_message_that_nobody_could_answer_is_dropped_and_told(received, capsys) -> None:
    assert Incoming(lambda: received, lambda *_: b"").receive() is None
    assert "a message was dropped" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("Invalid protobuf"), IndexError("no tree"), TypeError()])
def test_what_is_no_message_at_all_is_dropped(error: Exception) -> None:
    def receive() -> Any:
        raise error

    assert Incoming(receive, lambda *_: b"").receive() is None


def unfolding(depth: int) -> flower.ObjectTree:
    """Return a tree whose names stand for each other: 2 to the power of `depth` once unfolded."""
    names = [f"{number:064x}" for number in range(depth)]
    below = [Tree(object_id=names[0])] + [
        Tree(object_id=name, children=[Tree(object_id=under), Tree(object_id=under)])
        for under, name in pairwise(names)]
    return Tree(object_id=NAME, children=below)


@pytest.mark.parametrize("tree", [
    unfolding(40),
    Tree(object_id=NAME, children=[Tree(object_id=NAME)]),
    Tree(object_id=NAME, children=[Tree(object_id="no name")]),
], ids=("unfolds", "in itself", "no name"))
def test_a_tree_that_is_put_together_wrongly_comes_without_its_parts(tree, capsys) -> None:
    message = Sent()
    coming = Incoming(lambda: (message, tree), lambda *_: b"")
    assert coming.receive() == (message, Tree(object_id=NAME))
    assert "is refused" in capsys.readouterr().err


def test_what_is_in_a_message_twice_is_no_reason_to_refuse_it() -> None:
    chunk = Tree(object_id=OTHER)
    tree = Tree(object_id=NAME, children=[chunk, chunk])
    assert Incoming(lambda: (Sent(), tree), lambda *_: b"").receive()[1] == tree


def test_the_weights_of_the_largest_preset_fit_twice() -> None:
    plans = [load_plan(PLANS / "demo.yaml", f"preset={preset}") for preset in PRESETS]
    largest = max(sum(4 * tensor.numel() for tensor in network_like(plan, stage).values())
                  for plan in plans for stage in get_args(StageName))
    assert 2 * largest < incoming.MAX_MESSAGE_BYTES < 4 * largest


def test_a_message_that_is_too_large_is_answered_with_a_word_and_recorded(
    half_node, monkeypatch,
) -> None:
    monkeypatch.setattr(incoming, "MAX_MESSAGE_BYTES", 5000)
    large = ArrayRecord({"weights": Array(np.zeros(9000, np.uint8))})
    half_node.put("query.hello", RecordDict({"arrays": large}))
    assert half_node.reply().error.reason == "protocol"
    assert "a message cannot be read" in (half_node.folder / "state/site.log").read_text()
    half_node.put("query.hello")
    assert not half_node.reply().has_error()


# Whatever a server sends, Flower's loop goes on.

TREES = st.recursive(
    st.sampled_from([NAME, OTHER, "", "x", "\0"]).map(lambda name: Tree(object_id=name)),
    lambda inner: st.builds(lambda name, below: Tree(object_id=name, children=below),
                            st.sampled_from([NAME, OTHER, "c" * 64]), st.lists(inner, max_size=3)),
    max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from([NAME, OTHER, "", "x"]), reply_to=st.sampled_from(["", "", "", OTHER]),
       tree=TREES, content=st.one_of(st.binary(max_size=40), st.just(packed())),
       run_id=st.sampled_from([1, 2]), of_run=st.sampled_from([1, 2]))
def test_no_message_ends_flowers_loop(
    name: str, reply_to: str, tree: flower.ObjectTree, content: bytes, run_id: int, of_run: int,
) -> None:
    factory = ObjectStoreFactory()
    state = NodeStateFactory(objectstore_factory=factory).state()
    state.set_node_id(7)
    waiting = [(Sent(message_id=name, reply_to=reply_to, run_id=run_id), tree)]
    coming = Incoming(lambda: waiting.pop() if waiting else None, lambda *_: content)
    bundles = Bundles(lambda _: Run.create_empty(of_run),
                      lambda digest, _: flower.Fab(digest, content, {}), None)
    for _ in range(2):
        put = flower.node_loop._pull_and_store_message(
            state=state, object_store=factory.store(), node_config={}, receive=coming.receive,
            get_run=bundles.get_run, get_fab=bundles.get_fab, pull_object=coming.pull,
            confirm_message_received=lambda *_: None, trusted_entities=None)
        assert put in (None, run_id)
    if state.get_tasks():
        assert state.get_run(run_id).run_id == run_id  # else the task could not be given its input


@pytest.fixture
def answering() -> Iterator[Callable[..., BoundedClient]]:
    """Start a server that answers everything with the same bytes; give a client of it."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(body: bytes, times: int = 1, **headers: str) -> BoundedClient:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                try:
                    for _ in range(times):
                        self.wfile.write(body)
                except OSError:
                    pass  # hung up on

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return BoundedClient.from_server_address(
            f"127.0.0.1:{servers[-1].server_address[1]}", True, None, interceptors=[])

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


ANSWER = PullMessagesResponse(message_object_trees=[Tree(object_id=NAME)]).SerializeToString()


def test_an_answer_of_usual_size_is_read(answering) -> None:
    with answering(ANSWER) as client:
        assert client.PullMessages(PullMessagesRequest()).message_object_trees[0].object_id == NAME


def test_no_more_of_an_answer_is_read_than_it_may_hold(answering, monkeypatch) -> None:
    monkeypatch.setattr(incoming, "MAX_ANSWER_BYTES", 1 << 20)
    tracemalloc.start()
    endless = answering(b"x" * (1 << 16), times=1 << 12)
    with endless as client, pytest.raises(ValueError, match="larger"):
        client.PullMessages(PullMessagesRequest())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 << 20


def test_an_answer_that_would_unpack_to_more_is_refused(answering) -> None:
    body = gzip.compress(b"\0" * (4 << 20))
    with answering(body, Content_Encoding="gzip") as client, pytest.raises(ValueError, match="packed"):
        client.PullMessages(PullMessagesRequest())
