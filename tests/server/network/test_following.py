"""A person who follows a run is told of each round, and what the words about failures mean."""

import json

import pytest
from typer.testing import CliRunner

from braing3n.refusal_words import MEANINGS
from server.cli import app
from server.network import following
from server.network.following import follow
from server.network.ordering import order_run
from server.network.orders import OrderBook
from server.network.places import Places
from simulation.run import PLANS


def entry(number: int, refused: dict[str, str], seconds: float = 1.0) -> dict[str, object]:
    return {"round": number, "asked": ["site-a"], "answered": [] if refused else ["site-a"],
            "refused": refused, "seconds": seconds}


@pytest.fixture
def run(config):
    """A run whose record and end are written as a ServerApp and the server would."""
    order = order_run(config, PLANS / "demo.yaml", name="one", out=None, sweep="", start=None)

    class Run:
        name = order.name

        def record(self, *rounds, status="running"):
            from pathlib import Path

            Path(order.out).mkdir(parents=True, exist_ok=True)
            (Path(order.out) / "run.json").write_text(json.dumps({
                "status": status,
                "stages": [{"name": "pretrain", "rounds": 2, "participation": list(rounds)}]}))

        def end(self, how):
            book = OrderBook(Places.of(config))
            book.write(book.get(order.name).model_copy(update={"ended": how}))

    return Run()


def test_a_round_that_is_run_again_after_it_failed_is_told_again(run, config, monkeypatch):
    run.record(entry(1, {"site-a": "plan"}))
    steps = iter([
        lambda: run.record(entry(1, {}, 2.0)),
        lambda: (run.record(entry(1, {}, 2.0), entry(2, {}, 3.0)), run.end("completed")),
    ])
    monkeypatch.setattr(following.time, "sleep", lambda _: next(steps)())
    said: list[str] = []
    assert follow(config, None, said.append) == "completed"
    assert said == ["pretrain round 1 of 2: 0 of 1 sites in 1.0 s (site-a: plan)",
                    "pretrain round 1 of 2: 1 of 1 sites in 2.0 s",
                    "pretrain round 2 of 2: 1 of 1 sites in 3.0 s"]


def test_at_the_end_each_word_is_explained(run, config):
    run.record(entry(1, {"site-a": "plan", "site-b": "late"}))
    run.end("failed: too few")
    said: list[str] = []
    follow(config, run.name, said.append)
    assert said[1:] == [f"late: {MEANINGS['late']}", f"plan: {MEANINGS['plan']}"]


def test_the_status_of_a_failed_run_says_what_its_words_mean_and_how_to_go_on(run, settings):
    run.record(entry(1, {"site-a": "plan"}), status="failed: too few")
    run.end("failed: too few")
    done = CliRunner().invoke(app, ["status", str(settings)])
    assert "run one: failed: too few" in done.output
    assert "pretrain: round 1 of 2" in done.output
    assert f"plan: {MEANINGS['plan']}" in done.output
    assert "server resume CONSORTIUM.yaml one" in done.output
