"""Runs whose sites come late, come back, are shut out, or are others when the run goes on."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from braing3n.errors import ConfigError, OutputError, RunFailedError
from braing3n.files import digest_bytes
from braing3n.manifests import Content, manifest_line, sign_manifest
from braing3n.plan import load_plan
from braing3n.protocol import PROTOCOL_VERSION, Hello, Reply, Task
from braing3n.round_records import read_records
from braing3n.signing import open_key
from braing3n.weights import vector_from_npy
from client.app import app as client_app
from server.app import app as server_app
from simulation.grid import COORDINATOR_NODE, FIRST_SITE_NODE
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

A, B, C, D = range(FIRST_SITE_NODE, FIRST_SITE_NODE + 4)
NAMES = {A: "a", B: "b", C: "c", D: "d"}
CODE = "c" * 64
SWEEP = "last_stage=pretrain stages.pretrain.rounds=4 wait_for_lost_s=0"

# What happens when site a is asked to train in a round, counted from 1.
Happen = Callable[[int], None]


class KilledError(BaseException):
    """Stands for SIGKILL."""


class Run:
    """A run over fake sites in one process, each start of it on a grid of its own."""

    def __init__(self, folder: Path, grid: Any) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.new_grid = grid
        self.keys = {name: open_key(folder / f"{name}.key") for name in NAMES.values()}
        self.sent = 0
        self.happen: Happen = lambda _: None
        self.trained: list[tuple[str, int]] = []

    def start(self, *there: int, num: int = 4, sweep: str = SWEEP, **config: str) -> Any:
        """Run, or go on, with these nodes; others stay away unless something happens."""
        self.grid = self.new_grid(self.answer, num)
        self.grid.away = {node: math.inf for node in NAMES if node not in there}
        settings = {"plan": str(PLANS / "demo.yaml"), "out": str(self.out), "sweep": sweep, **config}
        server_app(self.grid, Context(run_id=1, node_id=COORDINATOR_NODE, node_config={},
                                      state=RecordDict(), run_config=settings))
        return self.record

    @property
    def record(self) -> Any:
        return json.loads((self.out / "run.json").read_text())

    @property
    def rounds(self) -> list[tuple[list[str], dict[str, str]]]:
        return [(entry["answered"], entry["refused"])
                for entry in self.record["stages"][0]["participation"]]

    @property
    def weights(self) -> bytes:
        return next((self.out / "rounds" / "pretrain").glob("round-*")).read_bytes()

    def answer(self, message: Message, context: Context) -> Message:
        node, kind = message.metadata.dst_node_id, message.metadata.message_type
        name = NAMES[node]
        if kind == "query.hello":
            return self._reply(message, Hello(site=name, protocol=PROTOCOL_VERSION, version="0",
                                              code_digest=CODE))
        task = Task.model_validate_json(str(message.content.config_records["message"]["json"]))
        told = Reply(site=name, stage=task.stage, round_index=task.round_index, weight=node % 5 + 1,
                     plan_digest=task.plan_digest, layout=task.layout)
        if kind == "evaluate":
            return self._reply(message, told)
        self.trained.append((name, task.round_index + 1))
        if node == A:
            self.happen(task.round_index + 1)
        arrays = [array for rec in message.content.array_records.values() for array in rec.values()]
        vector = vector_from_npy([array.data for array in arrays])
        update = np.float32(1e-2) * np.sin(vector * 50 + node % 5 + task.round_index)
        return self._reply(message, told, update.astype(np.float32))

    def _reply(self, message: Message, told: Any, update: np.ndarray | None = None) -> Message:
        text = told.model_dump_json()
        content = RecordDict({"message": ConfigRecord({"json": text})})
        if update is not None:
            content["arrays"] = ArrayRecord({"weights": Array(update)})
        self.sent += 1
        manifest = sign_manifest(
            self.keys[told.site], Content(
                site=told.site, kind=message.metadata.message_type, num_bytes=len(text),
                report_digest=digest_bytes(text.encode()),
                array_digest=None if update is None else digest_bytes(update.tobytes())),
            seq=self.sent, prev="0" * 64, time="2026-12-01T00:00:00Z")
        content["manifest"] = ConfigRecord({"json": manifest_line(manifest).decode()})
        return Message(content, reply_to=message)

    def kill_in(self, number: int) -> None:
        def happen(at: int) -> None:
            if at == number:
                raise KilledError

        self.happen = happen

    def enrol(self, **names: int) -> str:
        path = self.folder / "nodes.json"
        path.write_text(json.dumps({str(node): name for name, node in names.items()}))
        return str(path)


@pytest.fixture
def run(tmp_path: Path, flaky_grid: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    values = torch.linspace(-1, 1, 600)
    monkeypatch.setattr("server.starts.initial_weights", lambda *_: {"encoder.w": values.clone()})
    monkeypatch.setattr("server.app.CONNECT_TIMEOUT_S", 0.4)
    monkeypatch.setattr("server.roster.expected_code_digest", lambda: CODE)
    monkeypatch.setattr("server.run_state.own_code_digest", lambda: CODE)
    monkeypatch.setattr("server.resume.own_code_digest", lambda: CODE)
    return Run(tmp_path, flaky_grid)


def test_a_site_that_comes_late_is_in_every_round_from_then_on(run: Run) -> None:
    run.happen = lambda at: run.grid.away.pop(C, None) if at == 2 else None
    record = run.start(A, B)
    assert run.rounds == [(["a", "b"], {})] * 2 + [(["a", "b", "c"], {})] * 2
    assert record["sites"] == ["a", "b", "c"]
    assert record["joined"] == [{"site": "c", "stage": "pretrain", "round": 3}]
    assert record["status"] == "completed with c from pretrain round 3 on"
    assert record["stages"][0]["other_exchanges"][0]["answered"] == ["a", "b", "c"]
    records = read_records((run.out / "round_records.jsonl").read_bytes().splitlines())
    assert [one.asked for one in records][1:3] == [("a", "b"), ("a", "b", "c")]


def test_a_member_that_is_away_is_told_in_those_rounds_and_takes_part_when_it_is_back(run: Run) -> None:
    def happen(at: int) -> None:
        if at == 1:
            run.grid.away[C] = math.inf
        if at == 2:
            del run.grid.away[C]

    run.happen = happen
    record = run.start(A, B, C)
    assert run.rounds == [(["a", "b"], {"c": "unreachable"})] * 2 + [(["a", "b", "c"], {})] * 2
    assert (record["joined"], record["status"]) == (
        [], "completed with 2 of 3 sites in pretrain rounds 1, 2")


def test_a_run_goes_on_without_a_site_and_takes_it_up_when_it_is_back(run: Run) -> None:
    run.kill_in(2)
    with pytest.raises(KilledError):
        run.start(A, B, C)
    run.happen = lambda at: run.grid.away.pop(C, None) if at == 3 else None
    record = run.start(A, B)
    away = (["a", "b"], {"c": "unreachable"})
    assert run.rounds == [(["a", "b", "c"], {}), away, away, (["a", "b", "c"], {})]
    assert record["sites"] == ["a", "b", "c"]
    assert record["joined"] == []  # it was there at the beginning; its rounds say the rest
    assert record["status"] == "completed with 2 of 3 sites in pretrain rounds 2, 3"
    assert ("c", 4) in run.trained
    assert run.trained.count(("a", 1)) == 1


def test_a_run_goes_on_with_a_new_site(run: Run) -> None:
    run.kill_in(3)
    with pytest.raises(KilledError):
        run.start(A, B)
    run.kill_in(4)
    with pytest.raises(KilledError):
        run.start(A, B, D)
    run.happen = lambda _: None
    record = run.start(A, B, D)
    assert run.rounds == [(["a", "b"], {})] * 2 + [(["a", "b", "d"], {})] * 2
    assert record["joined"] == [{"site": "d", "stage": "pretrain", "round": 3}]
    assert record["status"] == "completed with d from pretrain round 3 on"


def test_a_run_does_not_go_on_with_too_few_sites_and_does_later_with_the_same_bits(
    run: Run, tmp_path: Path
) -> None:
    whole = Run(tmp_path / "whole", run.new_grid)
    whole.start(A, B)
    run.kill_in(3)
    with pytest.raises(KilledError):
        run.start(A, B)
    run.happen = lambda _: None
    with pytest.raises(RunFailedError, match="too few sites joined"):
        run.start(D)
    assert run.record["status"].startswith("failed: too few sites joined")
    assert run.record["sites"] == ["a", "b"]
    record = run.start(A, B)
    assert (record["status"], record["joined"]) == ("completed", [])
    assert run.weights == whole.weights


def test_another_plan_is_still_refused(run: Run) -> None:
    run.kill_in(3)
    with pytest.raises(KilledError):
        run.start(A, B)
    with pytest.raises(OutputError, match="another plan"):
        run.start(A, B, sweep=f"{SWEEP} seed=4")


def test_a_revoked_site_is_refused_in_the_next_round_and_not_asked_after(run: Run) -> None:
    nodes = run.enrol(a=A, b=B, c=C)

    def happen(at: int) -> None:
        if at == 2:
            run.enrol(a=A, b=B)

    run.happen = happen
    record = run.start(A, B, C, nodes=nodes)
    assert run.rounds == [(["a", "b", "c"], {})] * 2 + [
        (["a", "b"], {"c": "revoked"}), (["a", "b"], {})]
    assert record["revoked"] == [{"site": "c", "stage": "pretrain", "round": 3}]
    assert record["status"] == ("completed with 2 of 3 sites in pretrain round 3; "
                                "without c from pretrain round 3 on (revoked)")
    assert ("c", 3) not in run.trained
    assert record["strangers"] == {}
    records = list(read_records((run.out / "round_records.jsonl").read_bytes().splitlines()))
    assert records[2].refused == {"c": "revoked"}


def test_a_revoked_site_stays_out_when_the_run_goes_on(run: Run) -> None:
    nodes = run.enrol(a=A, b=B, c=C)

    def happen(at: int) -> None:
        if at == 1:
            run.enrol(a=A, b=B)
        if at == 4:
            raise KilledError

    run.happen = happen
    with pytest.raises(KilledError):
        run.start(A, B, C, nodes=nodes)
    run.happen = lambda _: None
    record = run.start(A, B, C, nodes=nodes)
    assert run.rounds[3] == (["a", "b"], {})
    assert record["revoked"] == [{"site": "c", "stage": "pretrain", "round": 2}]


def test_impostors_and_unknown_nodes_are_told_and_never_asked(run: Run) -> None:
    record = run.start(A, B, C, D, nodes=run.enrol(a=A, b=B, hospital=C))
    assert record["strangers"] == {f"c (node {C})": "impostor", f"node {D}": "unknown_node"}
    assert record["sites"] == ["a", "b"]
    assert record["status"] == (f"completed with 2 of 4 sites admitted (c (node {C}): impostor, "
                                f"node {D}: unknown_node)")
    assert {name for name, _ in run.trained} == {"a", "b"}


def test_all_enrolled_sites_are_expected(run: Run) -> None:
    record = run.start(A, B, nodes=run.enrol(a=A, b=B, c=C))
    assert record["status"] == "completed with 2 of 3 sites admitted (others not seen)"
    with pytest.raises(ConfigError, match="names no sites"):
        Run(run.folder / "other", run.new_grid).start(A, B, nodes=run.enrol())


def test_a_draw_counts_sites_that_came_late(run: Run) -> None:
    run.happen = lambda _: run.grid.away.pop(C, None)
    sweep = f"{SWEEP} sites_per_round=2 stages.pretrain.rounds=12"
    record = run.start(A, B, sweep=sweep)
    assert all(len(answered) == 2 for answered, _ in run.rounds)
    assert {name for name, _ in run.trained} == {"a", "b", "c"}
    assert record["status"] == "completed with c from pretrain round 2 on"


def test_a_real_site_that_comes_in_a_later_stage_is_sent_what_it_lacks(
    tmp_path: Path, phantom_cohort: Path, short_plan: str, flaky_grid: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, out = PLANS / "demo.yaml", tmp_path / "out"
    sweep = f"{short_plan} min_sites=1 wait_for_lost_s=0"
    sites = write_site_files(find_site_folders(phantom_cohort), out, load_plan(plan, sweep))
    config = {"plan": str(plan), "sites": str(sites), "out": str(out), "sweep": sweep}
    monkeypatch.setattr("server.app.CONNECT_TIMEOUT_S", 0.4)

    def site(message: Message, context: Context) -> Message:
        if message.metadata.message_type == "query.moments":
            grid.away = {}
        return client_app(message, context)

    grid = flaky_grid(site, 2, config)
    grid.away = {B: math.inf}
    server_app(grid, Context(run_id=1, node_id=COORDINATOR_NODE, node_config={}, state=RecordDict(),
                             run_config=config))
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "completed with site-b from diffusion round 1 on"
    diffusion = record["stages"][2]["participation"]
    assert [entry["answered"] for entry in diffusion] == [["site-a", "site-b"]] * 2
    assert diffusion[0]["bytes_frozen"] > 0
    assert diffusion[1]["bytes_frozen"] == 0
