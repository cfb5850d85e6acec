"""What a site with a budget does with orders that it must not follow: real handlers, fake servers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from braing3n.plan import load_plan
from braing3n.privacy.ledger import load_history, open_ledger
from braing3n.protocol import Reply, Task
from braing3n.weights import layout_digest, pack
from client.app import app as client_app
from server.app import app as server_app
from server.stages import initial_weights
from simulation.grid import LocalGrid, run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

Ask = Callable[..., Message]


class Hospital:
    """One strict site, and a coordinator's messages to it."""

    def __init__(self, folder: Path, cohort: Path, sweep: str, **budget: Any) -> None:
        self.sweep = sweep
        self.sites = write_site_files(find_site_folders(cohort), folder, load_plan(
            PLANS / "demo-dp.yaml", sweep))
        self.path = self.sites / "site-a.yaml"
        (self.sites / "site-b.yaml").unlink()
        settings = yaml.safe_load(self.path.read_text())
        settings["budget"] |= budget
        self.path.write_text(yaml.safe_dump(settings))
        self.state = self.sites / "site-a"
        LocalGrid(client_app, 1, {})  # lets messages be made

    def ask(self, sweep: str = "", run: str = "r1", round_index: int = 0, shift: float = 0.0,
            stage: str = "pretrain") -> Message:
        """Ask for a round as a coordinator would that has changed its plan by `sweep`."""
        plan = load_plan(PLANS / "demo-dp.yaml", f"{self.sweep} {sweep}")
        like = initial_weights(plan, stage)
        task = Task(run=run, plan=plan.canonical(), plan_digest=plan.digest, stage=stage,
                    round_index=round_index, layout=layout_digest(like))
        content = RecordDict({"message": ConfigRecord({"json": task.model_dump_json()})})
        content["arrays"] = ArrayRecord({"weights": Array(pack(like) + np.float32(shift))})
        message = Message(content, 7, f"train.{stage}")
        message.metadata.__dict__["_message_id"] = "m"
        return client_app(message, Context(run_id=1, node_id=7, node_config={"partition-id": 0},
                                           state=RecordDict(), run_config={"sites": str(self.sites)}))

    @property
    def kinds(self) -> list[str]:
        """What the ledger says, after the entries that begin it and decide on the budget."""
        return [f"{entry.kind} {entry.code or entry.what}" for entry in
                load_history(self.state).entries
                if (entry.kind, entry.code) not in (("note", "begun"), ("note", "budget"))]


@pytest.fixture
def hospital(tmp_path: Path, phantom_cohort: Path, short_dp_plan: str) -> Callable[..., Hospital]:
    return lambda **budget: Hospital(tmp_path, phantom_cohort,
                                     f"{short_dp_plan} last_stage=pretrain stages.pretrain.rounds=3",
                                     **budget)


def update_of(message: Message) -> bytes:
    return next(iter(message.content.array_records["arrays"].values())).data


@pytest.mark.parametrize(("sweep", "limits", "word"), [
    ("stages.pretrain.privacy.noise_multiplier=0.9", {"min_noise_multiplier": 1.0}, "policy"),
    ("stages.pretrain.privacy.sample_rate=0.9", {"max_sample_rate": 0.5}, "policy"),
    ("stages.pretrain.privacy.unit=volume", {}, "policy"),
    ("budget.cohort=other-patients", {}, "policy"),
    ("stages.pretrain.privacy=null", {"without_dp": []}, "policy"),
    ("", {"stages": ["decoder"]}, "policy"),
    ("", {"min_subjects": 50}, "policy"),
    ("stages.pretrain.rounds=500", {"epsilon": 10.0}, "budget"),
    ("", {"stage_epsilon": {"pretrain": 0.5}}, "budget"),
    ("budget.epsilon=0.5", {}, "budget"),
])
def test_a_server_that_asks_for_more_is_refused_and_nothing_is_spent(
    hospital: Callable[..., Hospital], monkeypatch: pytest.MonkeyPatch, sweep: str,
    limits: dict[str, Any], word: str,
) -> None:
    def computed(*_: object, **__: object) -> None:
        raise AssertionError("a gradient was computed")

    monkeypatch.setattr("client.dp_work.train_round_with_dp", computed)
    monkeypatch.setattr("client.work.train_round", computed)
    site = hospital(**limits)
    reply = site.ask(sweep)
    assert reply.error.reason == word
    assert site.kinds == [f"refuse {word}"]
    assert load_history(site.state).events("patients") == []


def test_a_run_that_changes_its_plan_on_the_way_is_refused(
    hospital: Callable[..., Hospital]
) -> None:
    site = hospital()
    assert not site.ask().has_error()
    assert site.ask("stages.pretrain.rounds=9", round_index=1).error.reason == "policy"
    assert site.kinds == ["reserve update", "settle update", "refuse policy"]
    assert not site.ask(round_index=1).has_error()


def test_the_same_task_gets_the_same_answer_and_another_for_that_round_none(
    hospital: Callable[..., Hospital]
) -> None:
    site = hospital()
    first, again = site.ask(), site.ask()
    assert update_of(first) == update_of(again)
    assert site.kinds == ["reserve update", "settle update"]
    assert site.ask(shift=0.5).error.reason == "replay"
    assert not site.ask(round_index=1).has_error()
    assert site.ask(round_index=0).error.reason == "replay"  # its answer is no longer kept
    assert site.kinds.count("reserve update") == 2


def test_a_round_that_no_longer_fits_is_refused_before_any_gradient(
    hospital: Callable[..., Hospital], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = hospital()
    replies = [site.ask(round_index=number) for number in (0, 1)]
    spent = [Reply.model_validate_json(str(reply.content.config_records["message"]["json"]))
             .privacy.epsilon_total for reply in replies]
    settings = yaml.safe_load(site.path.read_text())
    settings["budget"]["epsilon"] = spent[1] + 0.01  # its IT decides that this is enough
    site.path.write_text(yaml.safe_dump(settings))
    monkeypatch.setattr("client.dp_work.train_round_with_dp", None)
    assert site.ask(round_index=2).error.reason == "budget"
    assert site.kinds[-1] == "refuse budget"


@pytest.mark.parametrize("damage", ["gone", "rolled back", "edited"])
def test_a_ledger_that_is_not_what_it_was_stops_the_site(
    hospital: Callable[..., Hospital], damage: str
) -> None:
    site = hospital()
    site.ask()
    ledger, receipts = site.state / "ledger.jsonl", site.state / "receipts.jsonl"
    assert not receipts.exists()
    content = ledger.read_bytes()
    if damage == "gone":
        ledger.unlink()
    elif damage == "edited":
        ledger.write_bytes(content.replace(b'"steps":2', b'"steps":1', 1))
    else:
        ledger.write_bytes(content[: content.rstrip(b"\n").rfind(b"\n") + 1])
    reply = site.ask(round_index=1)
    if damage == "rolled back":  # without a receipt nobody can know; see the next test
        assert not reply.has_error()
    else:
        assert reply.error.reason == "ledger"


def test_receipts_find_a_ledger_that_was_rolled_back(
    tmp_path: Path, phantom_cohort: Path, short_dp_plan: str
) -> None:
    sweep = f"{short_dp_plan} last_stage=pretrain stages.pretrain.rounds=2 min_sites=1"
    plan, out = load_plan(PLANS / "demo-dp.yaml", sweep), tmp_path / "out"
    sites = write_site_files(find_site_folders(phantom_cohort), out, plan)
    ledger = out / "sites" / "site-b" / "ledger.jsonl"
    backup: list[bytes] = []

    def site(message: Message, context: Context) -> Message:
        if message.metadata.dst_node_id % 2 == 0 and message.metadata.message_type == "train.pretrain":
            backup.append(ledger.read_bytes() if ledger.exists() else b"")
            if len(backup) == 2:
                ledger.write_bytes(backup[1][: backup[1].rstrip(b"\n").rfind(b"\n") + 1])
        return client_app(message, context)

    run_locally(PLANS / "demo-dp.yaml", sites, out, sweep=sweep, apps=(server_app, site))
    first, second = json.loads((out / "run.json").read_text())["stages"][0]["participation"]
    assert first["refused"] == {}
    assert second["refused"] == {"site-b": "ledger"}  # and site-a went on


def test_a_budget_that_ends_within_a_run_stops_its_site_alone(
    tmp_path: Path, phantom_cohort: Path, short_dp_plan: str
) -> None:
    """Another consortium's run spends at site-b; noised metrics are not charged after that."""
    sweep = f"{short_dp_plan} last_stage=pretrain stages.pretrain.rounds=3 min_sites=1"
    plan, out = load_plan(PLANS / "demo-dp.yaml", sweep), tmp_path / "out"
    sites = write_site_files(find_site_folders(phantom_cohort), out, plan)
    settings = yaml.safe_load((sites / "site-b.yaml").read_text())
    settings["release"] = {"metrics": "noised"}
    (sites / "site-b.yaml").write_text(yaml.safe_dump(settings))
    state, asked = out / "sites" / "site-b", []

    def site(message: Message, context: Context) -> Message:
        reply = client_app(message, context)
        if message.metadata.dst_node_id % 2 == 0 and message.metadata.message_type == "train.pretrain":
            asked.append(message)
            if len(asked) == 1:
                spend_elsewhere(state)
        return reply

    run_locally(PLANS / "demo-dp.yaml", sites, out, sweep=sweep, apps=(server_app, site))
    record = json.loads((out / "run.json").read_text())
    assert [one["refused"] for one in record["stages"][0]["participation"]][:3] == [
        {}, {"site-b": "budget"}, {"site-b": "budget"}]
    assert record["status"].startswith("completed with 1 of 2 sites")
    own = [entry for entry in load_history(state).entries if entry.run == record["id"]]
    assert [f"{entry.kind} {entry.code or entry.what}" for entry in own] == [
        "reserve update", "reserve metrics", "settle update", "settle metrics",
        "refuse budget", "refuse budget"]
    others = load_history(out / "sites" / "site-a").entries
    assert [entry.round_index for entry in others if entry.kind == "settle"] == [0, 1, 2]


def spend_elsewhere(state: Path) -> None:
    with open_ledger(state) as ledger:
        last = next(entry for entry in ledger.entries if entry.kind == "reserve")
        ledger.reserve(run="another", stage="pretrain", round_index=0, cohort="patients", what="update",
                       mechanism=last.mechanism.model_copy(update={
                           "noise_multiplier": 0.4, "steps": 500}),
                       spent=last.spent, plan_digest=last.plan_digest)


def test_the_other_sites_go_on_without_one_that_refuses(
    tmp_path: Path, phantom_cohort: Path, short_dp_plan: str
) -> None:
    sweep = f"{short_dp_plan} last_stage=pretrain min_sites=1"
    plan, out = load_plan(PLANS / "demo-dp.yaml", sweep), tmp_path / "out"
    sites = write_site_files(find_site_folders(phantom_cohort), out, plan)
    settings = yaml.safe_load((sites / "site-b.yaml").read_text())
    settings["budget"]["min_noise_multiplier"] = 7.0
    (sites / "site-b.yaml").write_text(yaml.safe_dump(settings))
    run_locally(PLANS / "demo-dp.yaml", sites, out, sweep=sweep)
    record = json.loads((out / "run.json").read_text())
    assert record["status"].startswith("completed with 1 of 2 sites in pretrain round 1")
    assert record["stages"][0]["participation"][0]["refused"] == {"site-b": "policy"}
    assert record["privacy_by_site"]["site-b"] == {
        "statement": "refused: took no part, nothing spent in this run", "stages": {},
        "refused": {"policy": ["pretrain"]}}
    assert "privacy for one patient" in record["privacy_by_site"]["site-a"]["statement"]
