"""A site whose connection is lost in a round is asked again when it is back, and counted once."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict

from braing3n.plan import load_plan
from braing3n.privacy.ledger import load_history
from braing3n.protocol import Reply, Task
from braing3n.weights import digest_state, layout_digest, pack
from client.app import app as client_app
from server import exchange
from server.app import app as server_app
from server.app import mean_metrics
from server.messages import Member
from server.outcome import Frozen, Round
from server.strategy import Strategy
from simulation.grid import COORDINATOR_NODE, FIRST_SITE_NODE, run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

A, B, C = range(FIRST_SITE_NODE, FIRST_SITE_NODE + 3)
NAMES = {A: "a", B: "b", C: "c"}
PLAN = load_plan(PLANS / "demo.yaml")
LIKE = {"w": torch.linspace(-1, 1, 500)}
ENCODER = Frozen({"e": torch.ones(9)}, digest_state({"e": torch.ones(9)}))
TASK = Task(run="r", plan=PLAN.canonical(), plan_digest=PLAN.digest, stage="decoder", round_index=0,
            layout=layout_digest(LIKE), frozen={"encoder": ENCODER.digest})


class Sites:
    """Sites that compute something of their own; `refusing` and `lacking` by node."""

    def __init__(self) -> None:
        self.refusing: dict[int, str] = {}
        self.lacking: set[int] = set()

    def __call__(self, message: Message, context: Context) -> Message:
        node, kind = message.metadata.dst_node_id, message.metadata.message_type
        if kind == "query.install":
            self.lacking.discard(node)
            return Message(RecordDict(), reply_to=message)
        if node in self.refusing:
            return Message(Error(1000, self.refusing[node]), reply_to=message)
        told = Reply(site=NAMES[node], stage="decoder", round_index=0, plan_digest=PLAN.digest,
                     layout=TASK.layout, weight=node % 7 + 1)
        content = RecordDict({})
        if node in self.lacking:
            told = told.model_copy(update={"missing": ("encoder",)})
        else:
            update = np.random.default_rng(node).normal(size=500).astype(np.float32)
            content["arrays"] = ArrayRecord({"weights": Array(update)})
        content["message"] = ConfigRecord({"json": told.model_dump_json()})
        return Message(content, reply_to=message)


def strategy(
    grid: Any, *, min_sites: int = 2, timeout_s: float = 20.0, wait_s: float = 10.0
) -> Strategy:
    members = [Member(name, node) for node, name in NAMES.items()]
    return Strategy(grid, members, min_sites, timeout_s, wait_for_lost_s=wait_s)


def train(strategy: Strategy) -> Round:
    return strategy.run_round("train.decoder", TASK, pack(LIKE), LIKE, {"encoder": ENCODER})


def sent_to(grid: Any, node: int, kind: str = "train.decoder") -> list[Message]:
    return [message for message in grid.sent if message.metadata.dst_node_id == node
            and message.metadata.message_type == kind]


def once(node: int, looks: float) -> Callable[[Message], float]:
    """Return what lets a node die at its first message."""
    left = [looks]

    def dies(message: Message) -> float:
        return left.pop() if message.metadata.dst_node_id == node and left else 0

    return dies


@pytest.mark.parametrize("lost", [A, B, C])
def test_a_site_that_vanishes_and_returns_is_in_the_mean_as_if_nothing_had_been(
    flaky_grid: Any, lost: int
) -> None:
    whole = train(strategy(flaky_grid(Sites(), 3)))
    grid = flaky_grid(Sites(), 3)
    grid.dies = once(lost, looks=4)
    outcome = train(strategy(grid))
    assert whole.mean is not None
    assert outcome.mean is not None
    assert outcome.mean.tobytes() == whole.mean.tobytes()
    assert (outcome.answered, outcome.refused) == (("a", "b", "c"), {})
    first, again = sent_to(grid, lost)
    assert again.content == first.content
    assert 0 < again.metadata.ttl < first.metadata.ttl <= 20
    assert [len(sent_to(grid, node)) for node in NAMES if node != lost] == [1, 1]
    assert outcome.bytes_down == whole.bytes_down * 4 / 3


@pytest.mark.parametrize(("deaths", "refused"), [(1, {}), (2, {}), (3, {"b": "unreachable"})])
def test_a_process_that_died_at_its_message_is_asked_again_but_not_for_ever(
    flaky_grid: Any, monkeypatch: pytest.MonkeyPatch, deaths: int, refused: dict[str, str]
) -> None:
    """Flower's SuperNode then answers itself, by a code of Flower's."""
    monkeypatch.setattr(exchange, "AGAIN_S", 0.0)
    sites, left = Sites(), [None] * deaths

    def dying(message: Message, context: Context) -> Message:
        if message.metadata.dst_node_id == B and left:
            left.pop()
            return Message(Error(1, "ClientApp process died at /data/sub-17"), reply_to=message)
        return sites(message, context)

    outcome = train(strategy(flaky_grid(dying, 3)))
    assert outcome.refused == refused
    assert left == []


def test_with_enough_replies_a_lost_site_is_waited_for_no_longer_than_the_plan_says(
    flaky_grid: Any,
) -> None:
    grid = flaky_grid(Sites(), 3)
    grid.dies = once(B, math.inf)
    began = time.monotonic()
    outcome = train(strategy(grid, wait_s=0.6))
    assert 0.6 <= time.monotonic() - began < 5
    assert (outcome.answered, outcome.refused) == (("a", "c"), {"b": "unreachable"})
    assert len(sent_to(grid, B)) == 1


def test_a_node_that_is_there_and_is_lost_each_time_ends_with_the_same_wait(flaky_grid: Any) -> None:
    grid = flaky_grid(Sites(), 3)
    grid.dies = lambda message: float(message.metadata.dst_node_id == B)  # back at the next look
    began = time.monotonic()
    outcome = train(strategy(grid, wait_s=0.6))
    assert time.monotonic() - began < 10
    assert outcome.refused == {"b": "unreachable"}
    assert len(sent_to(grid, B)) > 1


@pytest.mark.parametrize("returns", [True, False])
def test_with_too_few_replies_all_of_the_rounds_time_is_waited(
    flaky_grid: Any, returns: bool
) -> None:
    grid = flaky_grid(Sites(), 3)
    grid.dies = once(B, looks=30 if returns else math.inf)
    began = time.monotonic()
    outcome = train(strategy(grid, min_sites=3, timeout_s=60.0 if returns else 1.0, wait_s=0.0))
    assert outcome.refused == ({} if returns else {"b": "unreachable"})
    assert returns or time.monotonic() - began >= 1


def test_a_round_that_cannot_get_enough_replies_any_more_does_not_wait_to_its_end(
    flaky_grid: Any,
) -> None:
    sites = Sites()
    sites.refusing = {A: "budget", C: "policy"}
    grid = flaky_grid(sites, 3)
    grid.dies = once(B, math.inf)
    began = time.monotonic()
    outcome = train(strategy(grid, timeout_s=60.0, wait_s=0.2))
    assert time.monotonic() - began < 10
    assert outcome.refused == {"a": "budget", "b": "unreachable", "c": "policy"}


def test_a_node_that_is_not_there_when_the_round_begins_is_sent_nothing_until_it_is(
    flaky_grid: Any,
) -> None:
    grid = flaky_grid(Sites(), 3)
    grid.away = {C: math.inf}
    assert train(strategy(grid, wait_s=0.1)).refused == {"c": "unreachable"}
    assert sent_to(grid, C) == []
    grid.away = {C: 5}
    assert train(strategy(grid)).answered == ("a", "b", "c")
    assert len(sent_to(grid, C)) == 1


def test_a_sites_own_refusal_is_final(flaky_grid: Any) -> None:
    sites = Sites()
    sites.refusing = {B: "output"}
    grid = flaky_grid(sites, 3)
    assert train(strategy(grid)).refused == {"b": "output"}
    assert len(sent_to(grid, B)) == 1


def test_a_site_that_lacks_a_part_is_served_while_another_is_lost(flaky_grid: Any) -> None:
    sites = Sites()
    sites.lacking = {A}
    grid = flaky_grid(sites, 3)
    grid.dies = once(B, looks=4)
    outcome = train(strategy(grid, min_sites=3, wait_s=0.0))
    assert outcome.answered == ("a", "b", "c")
    assert [len(sent_to(grid, node, "query.install")) for node in NAMES] == [1, 0, 0]


def test_a_site_that_lacks_a_part_does_not_wait_for_one_that_is_lost(flaky_grid: Any) -> None:
    sites = Sites()
    sites.lacking = {A}
    grid = flaky_grid(sites, 3)
    grid.dies = once(B, math.inf)
    outcome = train(strategy(grid, timeout_s=2.0))
    assert (outcome.answered, outcome.refused) == (("a", "c"), {"b": "unreachable"})


def test_a_site_that_is_lost_while_it_is_sent_a_part_is_asked_and_served_again(
    flaky_grid: Any,
) -> None:
    sites = Sites()
    sites.lacking = {A}
    grid = flaky_grid(sites, 3)
    left = [4.0]

    def dies(message: Message) -> float:
        if message.metadata.message_type != "query.install" or not left:
            return 0
        return left.pop()

    grid.dies = dies
    assert train(strategy(grid)).answered == ("a", "b", "c")
    assert len(sent_to(grid, A)) == 2  # it had kept the part before it died


def test_a_part_is_not_waited_for_at_a_site_that_is_not_there(flaky_grid: Any) -> None:
    grid = flaky_grid(Sites(), 3)
    grid.away = {B: math.inf}
    began = time.monotonic()
    outcome = strategy(grid, timeout_s=60.0).install(
        [*(Member(name, node) for node, name in NAMES.items()), Member("d", None, "revoked")],
        TASK, "encoder", ENCODER)
    assert time.monotonic() - began < 5
    assert outcome.asked == ("a", "b", "c", "d")
    assert outcome.refused == {"b": "unreachable", "d": "revoked"}
    assert outcome.bytes_frozen > 0
    assert sent_to(grid, B, "query.install") == []


def test_a_site_that_cannot_be_asked_is_in_the_record_and_not_waited_for(flaky_grid: Any) -> None:
    grid = flaky_grid(Sites(), 2)
    made = Strategy(grid, [Member("a", A), Member("b", B), Member("d", None, "revoked")], 2, 60.0)
    outcome = train(made)
    assert (outcome.asked, outcome.answered) == (("a", "b", "d"), ("a", "b"))
    assert outcome.refused == {"d": "revoked"}


def test_mean_metrics_do_not_depend_on_who_answered_last() -> None:
    replies = {name: Reply(site=name, stage="decoder", round_index=0, plan_digest=PLAN.digest,
                           metrics={"loss": value})
               for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.3))}
    late = {name: replies[name] for name in "cba"}
    assert mean_metrics(Round(tuple("abc"), late)) == mean_metrics(Round(tuple("abc"), replies))


def run(out: Path, cohort: Path, path: Path, sweep: str, flaky_grid: Any, kind: str) -> Path:
    """Run real sites; the second one's node dies at its first message of a kind, its work done."""
    sites = write_site_files(find_site_folders(cohort), out, load_plan(path, sweep))
    config = {"plan": str(path), "sites": str(sites), "out": str(out), "sweep": sweep}
    grid = flaky_grid(client_app, 2, config)
    dies = once(B, looks=4)
    grid.dies = lambda message: dies(message) if message.metadata.message_type == kind else 0
    server_app(grid, Context(run_id=1, node_id=COORDINATOR_NODE, node_config={}, state=RecordDict(),
                             run_config=config))
    assert len(sent_to(grid, B, kind)) > len(sent_to(grid, A, kind))
    return out


def test_a_run_in_which_a_site_was_lost_ends_with_the_same_bits(
    tmp_path: Path, phantom_cohort: Path, short_plan: str, flaky_grid: Any
) -> None:
    plan, whole = PLANS / "demo.yaml", tmp_path / "whole"
    sites = write_site_files(find_site_folders(phantom_cohort), whole, load_plan(plan, short_plan))
    run_locally(plan, sites, whole, sweep=short_plan)
    lost = run(tmp_path / "lost", phantom_cohort, plan, short_plan, flaky_grid, "train.decoder")
    for path in [*whole.glob("model/*"), *whole.glob("rounds/*/round-*")]:
        assert (lost / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    assert json.loads((lost / "run.json").read_text())["status"] == "completed"


def test_a_site_that_was_lost_pays_once(
    tmp_path: Path, phantom_cohort: Path, short_dp_plan: str, flaky_grid: Any
) -> None:
    sweep = f"{short_dp_plan} last_stage=pretrain"
    plan = PLANS / "demo-dp.yaml"
    out = run(tmp_path / "out", phantom_cohort, plan, sweep, flaky_grid, "train.pretrain")
    rounds = load_plan(plan, sweep).stages.pretrain.rounds
    assert json.loads((out / "run.json").read_text())["status"] == "completed"
    for site in ("site-a", "site-b"):
        history = load_history(out / "sites" / site)
        reserved = [entry.round_index for entry in history.entries
                    if entry.kind == "reserve" and entry.what == "update"]
        assert reserved == list(range(rounds)), site
