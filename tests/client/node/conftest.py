"""A site's own half of the network: Flower's SuperNode state and Runtime API, and our executor."""

import hashlib
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import start_client_internal as loop
from flwr.supernode.cli.flower_supernode import _start_supernode_http_api
from flwr.supernode.nodestate import NodeStateFactory

from braing3n.config import SiteConfig, load_site_config
from braing3n.enrolment.answer import read_answer
from braing3n.service.ports import free_port
from braing3n.service.programs import environment
from client.keygen import make_keys
from client.network_folder import NetworkFolder, keep_answer, request_of
from client.node.bundle import own_bundle
from client.node.incoming import Incoming
from server.authority import initialise
from server.consortium import ConsortiumConfig, load_consortium
from server.enrolling import check_enrolment, enrol

NODE_ID = 7


class HalfNode:
    """A SuperNode without a server: messages are put in as Flower's loop puts them in."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder, self.site = folder, site
        self.port, self.secret = free_port(), folder / "secret"
        self.secret.write_bytes(b"s" * 32)
        factory = ObjectStoreFactory()
        states = NodeStateFactory(objectstore_factory=factory)
        self.state, self.store = states.state(), factory.store()
        self.state.set_node_id(NODE_ID)
        self.http, self._thread = _start_supernode_http_api(self._config(), states)
        self._log = (folder / "executor.log").open("w")
        self.executor = subprocess.Popen(
            [sys.executable, "-P", "-m", "client.node.executor", *self._site_argument(), "--insecure",
             "--runtime-api-address", f"127.0.0.1:{self.port}", "--superexec-auth-secret-file",
             str(self.secret)],
            cwd=folder, stdout=self._log, stderr=subprocess.STDOUT,
            env={**environment(folder / "flwr"), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1"})

    def _site_argument(self) -> list[str]:
        return [str(self.site)]

    def _config(self) -> Any:
        class Config:
            superexec_auth_secret = self.secret.read_bytes()
            host, port = "127.0.0.1", self.port
            runtime_ssl_certfile = runtime_ssl_keyfile = None

        return Config

    @property
    def log(self) -> str:
        return (self.folder / "executor.log").read_text()

    def put(self, kind: str, content: RecordDict | None = None, *, refused: bool = False,
            unreadable: bool = False) -> int:
        """Give the node a message of a run of its own; return the run's id.

        One that is unreadable has the right hashes.
        """
        run_id = uuid.uuid4().int >> 70
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, 1, 1
        message = Message(content or RecordDict(), NODE_ID, kind)
        whole = ConfigRecord({"json": "no message"}) if unreadable else message
        message.metadata.__dict__["_message_id"] = whole.object_id
        tree = get_object_tree(whole)
        contents = {key: one.deflate() for key, one in get_all_nested_objects(whole).items()}
        bundle = own_bundle(is_refused=refused)
        run = Run.create_empty(run_id)
        run.fab_id, run.fab_version, run.series_id = "braing3n/braing3n", "0", run_id
        run.fab_hash = hashlib.sha256(bundle).hexdigest()
        waiting = [(remove_content_from_message(message), tree)]
        incoming = Incoming(lambda: waiting.pop() if waiting else None, lambda _, key: contents[key])
        for _ in range(2):  # a message that is refused comes twice
            put = loop._pull_and_store_message(
                state=self.state, object_store=self.store,
                node_config={"site-config": str(self.site)}, receive=incoming.receive,
                get_run=lambda _: run, get_fab=lambda digest, _: Fab(digest, bundle, {}),
                pull_object=incoming.pull, confirm_message_received=lambda *_: None,
                trusted_entities=None)
            if put == run_id:
                return run_id
        raise AssertionError("Flower's loop did not take the message")

    def reply(self, timeout_s: float = 60) -> Message:
        """Wait for the reply, as Flower's loop does."""
        deadline = time.monotonic() + timeout_s
        while not (replies := self.state.get_messages_legacy(is_reply=True)):
            assert time.monotonic() < deadline, self.log[-4000:]
            time.sleep(0.05)
        while self.state.get_tasks(statuses=("pending", "starting", "running")):
            assert time.monotonic() < deadline, self.log[-4000:]  # the reply's content follows it
            time.sleep(0.02)
        return replies[0]

    def text(self, reply: Message) -> str:
        """Return a reply's report, of what was pushed for it."""
        contents = {}
        tree = self.store.get_object_tree(reply.metadata.message_id)
        for one in iterate_object_tree(tree):
            while not (content := self.store.get(one.object_id)):
                time.sleep(0.05)
            contents[one.object_id] = content
        whole = inflate_object_from_contents(tree.object_id, contents)
        assert isinstance(whole, Message)
        return str(whole.content.config_records["message"]["json"])

    def tasks(self) -> list[int]:
        """Return the processes that work on a message now."""
        return [task for server in children(self.executor.pid) for task in children(server)]

    @contextmanager
    def held(self, when: str) -> Iterator[threading.Event]:
        """Have a task wait at a call to the node's state; yields what is set once one is there."""
        real, there, goes_on = getattr(self.state, when), threading.Event(), threading.Event()

        def waits(*arguments: Any, **named: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                there.set()
                goes_on.wait(30)
            return real(*arguments, **named)

        setattr(self.state, when, waits)
        try:
            yield there
        finally:
            setattr(self.state, when, real)
            goes_on.set()

    def expire(self) -> None:
        """Have Flower find that nothing was heard of any task for long."""
        with self.state.lock_task_store:
            for record in self.state.task_token_store.values():
                record.active_until = datetime.now(UTC) - timedelta(seconds=1)

    def push(self, push: Callable[..., None]) -> list[Message]:
        """Wait for a reply and send it, by Flower's function; return what was sent whole."""
        begun: list[tuple[Message, set[str]]] = []
        pushed: set[str] = set()

        def send(message: Message, tree: ObjectTree, _: float) -> tuple[set[str], str]:
            begun.append((message, {one.object_id for one in iterate_object_tree(tree)}))
            return set(begun[-1][1]), "session"

        push(state=self.state, object_store=self.store, send=send,
             push_object=lambda run_id, session, name, content: pushed.add(name))
        return [message for message, names in begun if names <= pushed]

    def end(self) -> None:
        self.executor.terminate()
        self.executor.wait(20)
        self.http.should_exit = True
        self._thread.join(10)
        self._log.close()


def children(pid: int) -> list[int]:
    """Return the processes that one has started and that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(folder.name))
    return found


@dataclass(frozen=True)
class Joined:
    """A site that has joined a consortium, and the consortium."""

    path: Path
    consortium: ConsortiumConfig

    @property
    def config(self) -> SiteConfig:
        return load_site_config(self.path)

    @property
    def network(self) -> NetworkFolder:
        return NetworkFolder.of(self.config)


@pytest.fixture
def joined(tmp_path: Path) -> Callable[..., Joined]:
    """Make a site with an empty folder of scans that has joined a consortium of its own."""

    def make(*, place: str = "site", names: str = "127.0.0.1", port: int | None = None,
             now: datetime | None = None, settings: str = "") -> Joined:
        folder = tmp_path / place
        (folder / "bids").mkdir(parents=True)
        site = folder / "site.yaml"
        site.write_text(f"name: site-a\ndata: {{folder: bids}}\nstate_dir: state\n{settings}")
        yaml = folder / "consortium.yaml"
        yaml.write_text(f"name: demo\nnames: [{names}]\nport: {port or free_port()}\n"
                        "state_dir: coordinator\n")
        consortium, when = load_consortium(yaml), now or datetime.now(UTC)
        initialise(consortium, when)
        config = load_site_config(site)
        make_keys(config)
        entry = check_enrolment(consortium, request_of(config, when), replaces_key=False)
        answer = folder / "answer.json"
        enrol(consortium, entry, answer, when, replaces_key=False)
        keep_answer(config, read_answer(answer, when))
        return Joined(site, consortium)

    return make


@pytest.fixture(scope="session")
def half_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HalfNode]:
    """A node whose site has an empty folder of scans: enough to be greeted and to refuse."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "bids").mkdir()
    site = folder / "site.yaml"
    site.write_text("name: site-a\ndata: {folder: bids}\nstate_dir: state\n")
    made = HalfNode(folder, site)
    yield made
    made.end()
