"""The gate: nothing leaves but what is known, within the settings, and written down before."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.errors import LedgerError
from braing3n.files import digest_bytes
from braing3n.manifests import Manifest
from braing3n.networks import network_like
from braing3n.plan import Plan, load_plan
from braing3n.protocol import PROTOCOL_VERSION, Hello, Reply, Task
from client import holding
from client.app import app
from client.egress_log import LOG_NAME, load_manifests
from client.guard import guard
from simulation.grid import LocalGrid
from simulation.run import PLANS

PLAN = load_plan(PLANS / "demo.yaml")
SIZE = sum(tensor.numel() for tensor in network_like(PLAN, "pretrain").values())


class Gate:
    """A site whose handler answers what the test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bids").mkdir()
        self.settings("")
        LocalGrid(app, 1, {})  # lets messages be made, as a grid does

    def settings(self, egress: str) -> None:
        (self.folder / "a.yaml").write_text(
            "name: site-a\ndata: {folder: bids}\nstate_dir: state\n"
            + (f"egress: {egress}\n" if egress else ""))

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def task(self, plan: Plan = PLAN, **changes: Any) -> Task:
        return Task(**{"run": "run-1", "plan": plan.canonical(), "plan_digest": plan.digest,
                       "stage": "pretrain", "round_index": 0, **changes})

    def ask(self, content: RecordDict | Callable[[], RecordDict], kind: str = "train.pretrain", *,
            task: Task | None = None, ttl: float = 60.0) -> Message:
        asked = self.task() if task is None else task
        message = Message(RecordDict({"message": ConfigRecord({"json": asked.model_dump_json()})}),
                          7, kind, ttl=ttl)
        message.metadata.__dict__["_message_id"] = "m"
        context = Context(run_id=1, node_id=7, node_config={"partition-id": 0}, state=RecordDict(),
                          run_config={"sites": str(self.folder)})

        def handler(message: Message, context: Context) -> Message:
            return Message(content() if callable(content) else content, reply_to=message)

        return guard(message, context, handler)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def report(**changes: Any) -> str:
    return Reply(**{"site": "site-a", "stage": "pretrain", "round_index": 0, "plan_digest": PLAN.digest,
                    "weight": 3, "metrics": {"loss": 0.5}, **changes}).model_dump_json()


def content(text: str | None = None, vector: np.ndarray | None = None) -> RecordDict:
    made = RecordDict({"message": ConfigRecord({"json": report() if text is None else text})})
    if vector is not None:
        made["arrays"] = ArrayRecord({"weights": Array(vector)})
    return made


def update(scale: float = 1e-3) -> np.ndarray:
    return np.full(SIZE, scale, np.float32)


def manifest_in(reply: Message) -> Manifest:
    return Manifest.model_validate_json(str(reply.content.config_records["manifest"]["json"]))


def test_a_reply_is_written_down_as_it_leaves(gate: Gate) -> None:
    vector = update()
    reply = gate.ask(content(vector=vector))
    (line,) = (gate.state / LOG_NAME).read_text().splitlines()
    manifest = manifest_in(reply)
    assert load_manifests(gate.state) == [manifest]
    assert str(reply.content.config_records["manifest"]["json"]) == line
    assert manifest.array_digest == digest_bytes(vector.tobytes())
    assert manifest.report_digest == digest_bytes(report().encode())
    assert (manifest.kind, manifest.run, manifest.stage) == ("train.pretrain", "run-1", "pretrain")
    assert manifest.metrics == {"loss": 0.5}
    assert manifest.norm == pytest.approx(1e-3 * SIZE**0.5, rel=1e-4)
    like = network_like(PLAN, "pretrain")
    assert [(one.name, one.shape) for one in manifest.tensors] == [
        (name, tuple(like[name].shape)) for name in sorted(like)]
    assert (gate.state / LOG_NAME).stat().st_mode & 0o777 == 0o600


def test_every_reply_names_the_one_before(gate: Gate) -> None:
    for number in range(3):
        gate.ask(content(report(round_index=number)), "evaluate",
                 task=gate.task(round_index=number))
    first, second, third = load_manifests(gate.state)
    lines = (gate.state / LOG_NAME).read_bytes().splitlines()
    assert [second.prev, third.prev] == [digest_bytes(lines[0]), digest_bytes(lines[1])]
    assert len({one.public_key for one in (first, second, third)}) == 1


def test_the_answer_to_a_greeting_is_written_down_as_well(gate: Gate) -> None:
    hello = Hello(site="site-a", protocol=PROTOCOL_VERSION, version="1", code_digest="a" * 64)
    assert manifest_in(gate.ask(content(hello.model_dump_json()), "query.hello")).tensors == ()


@pytest.mark.parametrize("spoil", [
    lambda made: made.__setitem__("more", ConfigRecord({"json": "sub-01"})),
    lambda made: made.__setitem__("metrics", MetricRecord({"age": 61.0})),
    lambda made: made["message"].__setitem__("path", "/data/sub-01"),
    lambda made: made["arrays"].__setitem__("scan", Array(np.zeros(3, np.float32))),
    lambda made: made.__setitem__("message", ConfigRecord({"json": "sub-01"})),
    lambda made: made.__setitem__("message", ConfigRecord({"json": report(site="site-b")})),
    lambda made: made.__setitem__("arrays", ArrayRecord({"weights": Array(np.zeros(5, np.float32))})),
    lambda made: made.__setitem__("arrays", ArrayRecord({"weights": Array(np.zeros(SIZE))})),
])
def test_what_is_unknown_does_not_leave(gate: Gate, spoil: Callable[[RecordDict], None]) -> None:
    made = content(vector=update())
    spoil(made)
    reply = gate.ask(made)
    assert reply.has_error()
    assert reply.error.reason in ("egress", "protocol")
    assert "sub-01" not in str(reply)
    assert not (gate.state / LOG_NAME).exists()


@pytest.mark.parametrize(("egress", "vector"), [
    ("{max_mb: 1.0}", update()), ("{max_norm: 0.5}", update()), ("{tensors: {pretrain: []}}", update()),
    ("{tensors: {pretrain: ['encoder.*']}}", update()),
    ("{}", np.full(SIZE, np.nan, np.float32))])
def test_what_the_settings_do_not_let_out_stays(gate: Gate, egress: str, vector: np.ndarray) -> None:
    gate.settings(egress)
    reply = gate.ask(content(vector=vector))
    assert reply.has_error()
    assert reply.error.reason == "egress"
    assert "may not leave" in (gate.state / "site.log").read_text() or "no number" in (
        gate.state / "site.log").read_text() or "to leave" in (gate.state / "site.log").read_text()


@pytest.mark.parametrize("egress", ["{max_mb: 1.0}", "{tensors: {pretrain: ['encoder.*']}}"])
def test_what_could_not_leave_is_refused_before_any_work(gate: Gate, egress: str) -> None:
    gate.settings(egress)

    def work() -> RecordDict:
        raise AssertionError("worked in vain")

    assert gate.ask(work).error.reason == "egress"


def test_within_the_settings_it_leaves(gate: Gate) -> None:
    gate.settings("{max_norm: 10, max_mb: 100, tensors: {pretrain: ['*'], decoder: []}}")
    assert not gate.ask(content(vector=update())).has_error()


def decide_soon(gate: Gate, *, releases: bool) -> threading.Thread:
    def decide() -> None:
        while not holding.held(gate.state):
            time.sleep(0.02)
        holding.decide(gate.state, holding.held(gate.state)[0].name, releases=releases)

    thread = threading.Thread(target=decide)
    thread.start()
    return thread


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "POLL_S", 0.02)


@pytest.mark.usefixtures("fast")
def test_a_reply_waits_for_a_person_who_lets_it_out(gate: Gate) -> None:
    gate.settings("{hold: true}")
    thread = decide_soon(gate, releases=True)
    reply = gate.ask(content(vector=update()))
    thread.join()
    assert not reply.has_error()
    assert len(load_manifests(gate.state)) == 1
    assert holding.held(gate.state) == []
    # Asked again, as after a crash, the same content leaves at once, and another one waits.
    assert not gate.ask(content(vector=update())).has_error()


@pytest.mark.usefixtures("fast")
def test_a_reply_that_a_person_keeps_does_not_leave(gate: Gate) -> None:
    holding.switch(gate.state, on=True)
    thread = decide_soon(gate, releases=False)
    reply = gate.ask(content(vector=update()))
    thread.join()
    assert reply.error.reason == "held"
    assert load_manifests(gate.state) == []
    holding.switch(gate.state, on=False)
    assert not gate.ask(content(report(weight=4), vector=update())).has_error()


@pytest.mark.usefixtures("fast")
def test_nobody_who_decides_in_time_is_a_no(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_MARGIN_S", 0.8)
    gate.settings("{hold: true}")
    began = time.monotonic()
    assert gate.ask(content(vector=update()), ttl=1.0).error.reason == "held"
    assert time.monotonic() - began < 5
    assert holding.held(gate.state) == []


@pytest.mark.parametrize("change", [
    lambda lines: [*lines[:-1], lines[-1].replace(b'"num_bytes":', b'"num_bytes":1')],
    lambda lines: lines[1:], lambda lines: [lines[0], lines[2]], lambda lines: [],
    lambda lines: [lines[1], lines[0], lines[2]]])
def test_a_log_that_somebody_changed_is_found(gate: Gate, change: Callable[..., Any]) -> None:
    for number in range(3):
        gate.ask(content(report(round_index=number)), "evaluate", task=gate.task(round_index=number))
    path = gate.state / LOG_NAME
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))
    after = gate.ask(content(), "evaluate")
    if after.has_error():
        assert after.error.reason == "ledger"
    else:  # what is before the last line is looked at by whoever reads all of it
        with pytest.raises(LedgerError, match="is not the log"):
            load_manifests(gate.state)


def test_half_a_line_is_cut_off_as_nothing_left_with_it(gate: Gate) -> None:
    gate.ask(content(), "evaluate")
    with (gate.state / LOG_NAME).open("ab") as stream:
        stream.write(b'{"half')
    assert len(load_manifests(gate.state)) == 1
    gate.ask(content(), "evaluate")
    assert [one.seq for one in load_manifests(gate.state)] == [0, 1]


def test_a_log_that_is_gone_lets_nothing_out(gate: Gate) -> None:
    gate.ask(content(), "evaluate")
    (gate.state / LOG_NAME).unlink()
    assert gate.ask(content(), "evaluate").error.reason == "ledger"


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@settings(max_examples=100)
@given(st.text() | JSON.map(json.dumps), st.binary(max_size=200), st.sampled_from(
    ["train.pretrain", "train.decoder", "evaluate", "query.moments", "query.probe", "query.hello"]))
def test_any_question_and_any_bytes_end_in_a_fixed_word_or_a_reply(
    tmp_path_factory: pytest.TempPathFactory, text: str, data: bytes, kind: str
) -> None:
    """Fuzz: no crash, and no reply without its manifest."""
    gate = Gate(tmp_path_factory.mktemp("fuzz"))
    made = content(text)
    made["arrays"] = ArrayRecord({"weights": Array("float32", (1,), "numpy.ndarray", data)})
    reply = gate.ask(made, kind)
    assert reply.has_error()
    assert not (gate.state / LOG_NAME).exists()
