"""What the server at work does: nodes as the roster says, runs as they are ordered."""

import json
from pathlib import Path

import pytest

from braing3n.errors import ConfigError, RunFailedError
from braing3n.service.ports import free_port
from server.network import watching
from server.network.orders import Attempt, Order, OrderBook
from server.network.watching import MAX_ATTEMPTS, Watch

BEGINNING = "at its beginning"


class World:
    """The server's watch over a SuperLink and a `flwr` that are stood in for."""

    def __init__(self, config, places, control, log):
        self.book, self.control, self.asked = OrderBook(places), control, []
        self.watch = Watch(config, {"FLWR_HOME": "x"}, log, connect=control.connect, ask=self._ask)
        self.trouble = None
        self.out = places.runs / "one/out"

    def _ask(self, arguments, environment, folder, look_into):
        self.asked.append(arguments)
        number = self.control.start_run()
        if self.trouble is not None:
            raise self.trouble
        return {"success": True, "run-id": str(number)}

    def order(self, **more):
        self.book.add(Order(**{"name": "one", "plan_digest": "0" * 64, "out": str(self.out),
                               "ordered": "2026-01-31T12:00:00Z", **more}), b"name: x\n")

    def want(self, **change):
        self.book.write(self.book.get("one").model_copy(update=change))

    def look(self):
        self.watch()
        return self.book.get("one")

    def record(self, status="running", rounds=0):
        """Write what the ServerApp would."""
        self.out.mkdir(exist_ok=True)
        (self.out / "run.json").write_text(json.dumps({"status": status, "stages": [
            {"name": "pretrain", "participation": [{"round": n + 1} for n in range(rounds)]}]}))

    def status(self):
        return json.loads((self.out / "run.json").read_text())["status"]

    def kill(self, why=""):
        """End the ServerApp that was started last."""
        self.control.end_run(max(self.control.flower), why)


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(watching, "EVERY_S", 0.0)


@pytest.fixture
def world(config, places, control, kept, listening):
    places.write_port(listening)
    return World(config, places, control, kept.log)


def test_a_run_that_was_ordered_is_started_with_its_plan_its_folder_and_the_list_of_nodes(
        world, places, kept):
    world.order(sweep="seed=3", start="/weights")
    order = world.look()
    (verb, app, option, settings), = world.asked
    assert (verb, app, option) == ("run", str(places.app), "--run-config")
    assert settings == (f'plan="{world.book.plan_path("one")}" sweep="seed=3" out="{world.out}" '
                        f'start="/weights" nodes="{places.nodes}"')
    assert [one.flower_run for one in order.attempts] == list(world.control.flower)
    assert order.attempts[0].place == BEGINNING
    assert f"run one starts {BEGINNING}" in kept.text


def test_a_run_that_is_at_work_is_left_alone(world):
    world.order()
    first = world.look()
    world.record(rounds=1)
    assert world.look() == first
    assert len(world.asked) == 1


def test_sites_of_the_roster_may_connect_before_anything_is_started(world, sites, control):
    sites.enrol("hospital-a")
    world.order()
    world.look()
    assert control.asked == ["hospital-a"]


def test_a_run_whose_serverapp_was_killed_goes_on_where_it_was(world, kept):
    world.order()
    world.look()
    world.record(rounds=3)
    world.kill("No heartbeat received")
    order = world.look()
    assert [one.place for one in order.attempts] == [BEGINNING, "after round 3 of pretrain"]
    assert not order.is_over
    assert "run one goes on after round 3 of pretrain" in kept.text
    assert "its ServerApp ended: No heartbeat received" in kept.text


def test_a_run_that_flower_has_forgotten_goes_on(world):
    world.order()
    world.look()
    world.control.flower.clear()
    assert len(world.look().attempts) == 2


def test_a_run_that_dies_three_times_at_one_place_is_given_up_with_the_last_reason(world, kept):
    world.order()
    for death in range(MAX_ATTEMPTS):
        world.look()
        world.record()
        world.kill(f"ServerApp failed with exception:\n  death {death}")
    order = world.look()
    assert order.ended == ("failed: the ServerApp ended 3 times at its beginning; the last time: "
                           "ServerApp failed with exception: death 2")
    assert world.status() == order.ended
    world.look()
    assert len(world.asked) == MAX_ATTEMPTS
    assert f"run one: {order.ended}" in kept.text


def test_deaths_of_serverapps_with_their_server_do_not_count(world):
    before = [Attempt(flower_run=number, at="2026-01-31T12:00:05Z", place=BEGINNING)
              for number in range(2 * MAX_ATTEMPTS)]
    world.order(attempts=tuple(before))
    assert len(world.look().attempts) == len(before) + 1
    assert not world.look().is_over


def test_a_run_that_comes_further_each_time_is_not_given_up(world):
    world.order()
    for rounds in range(2 * MAX_ATTEMPTS):
        world.look()
        world.record(rounds=rounds + 1)
        world.kill()
    assert not world.look().is_over
    assert len(world.asked) == 2 * MAX_ATTEMPTS + 1


@pytest.mark.parametrize("status", ["completed", "completed with 1 of 2 sites", "failed: diverged"])
def test_a_run_that_ended_by_itself_is_over_in_its_own_words(world, status):
    world.order()
    world.look()
    world.record(status)
    assert not world.look().is_over  # its ServerApp may still be tidying up
    world.kill()
    assert world.look().ended == status
    world.look()
    assert len(world.asked) == 1


def test_a_run_that_shall_stop_is_stopped_and_then_over(world):
    world.order()
    order = world.look()
    world.record(rounds=1)
    world.want(wanted="stop")
    assert not world.look().is_over
    assert world.control.stopped == [order.attempts[0].flower_run]
    world.kill()
    assert world.look().ended == "stopped by a person"
    assert world.status() == "failed: stopped by a person"
    assert len(world.asked) == 1


def test_a_run_that_shall_stop_before_it_was_started_is_never_started(world):
    world.order(wanted="stop")
    assert world.look().ended == "stopped by a person"
    assert world.asked == []


def test_a_run_that_was_complete_before_it_could_be_stopped_is_complete(world):
    world.order()
    world.look()
    world.record("completed")
    world.want(wanted="stop")
    world.kill()
    assert world.look().ended == "completed"


def test_a_resumed_run_goes_on_although_it_failed_and_its_deaths_before_do_not_count(world, config):
    from server.network.ordering import order_resume

    world.order()
    for _ in range(MAX_ATTEMPTS):
        world.look()
        world.record()
        world.kill()
    assert world.look().is_over
    order_resume(config, "one")
    assert not world.look().is_over
    assert len(world.asked) == MAX_ATTEMPTS + 1
    world.kill()  # before its ServerApp has said a word
    assert not world.look().is_over
    assert len(world.asked) == MAX_ATTEMPTS + 2


def test_a_start_that_could_not_be_noted_is_not_a_second_run(world, kept):
    world.trouble = RunFailedError("`flwr run` does not answer", expected="a", found="b", fix="c")
    world.order()
    assert world.look().attempts == ()
    assert len(world.control.flower) == 1
    world.trouble = None
    order = world.look()
    assert [one.flower_run for one in order.attempts] == list(world.control.flower)
    world.look()
    assert len(world.asked) == 1


def test_a_start_that_could_not_be_noted_is_stopped_with_its_run(world):
    number = world.control.start_run()
    world.order(wanted="stop")
    assert not world.look().is_over
    world.look()
    assert world.control.stopped == [number]
    world.control.end_run(number)
    assert world.look().ended == "stopped by a person"


def test_what_fails_is_said_once_and_tried_again(world, kept):
    world.control.trouble = RunFailedError("Flower's SuperLink does not answer", expected="an answer",
                                           found="none", fix="look into the log")
    world.order()
    for _ in range(3):
        world.look()
    assert kept.text.count("Flower's SuperLink does not answer") == 1
    assert {one["level"] for one in kept.events} == {"error"}
    world.control.trouble = None
    assert len(world.look().attempts) == 1
    world.control.trouble = RunFailedError("Flower's SuperLink does not answer", expected="an answer",
                                           found="none", fix="look into the log")
    world.look()
    assert kept.text.count("Flower's SuperLink does not answer") == 2


def test_a_start_that_fails_is_said_once_and_tried_again(world, kept, monkeypatch):
    def fail(*_):
        raise RunFailedError("`flwr run` failed", expected="JSON", found="no federation", fix="look")

    world.watch.ask = fail
    world.order()
    for _ in range(3):
        assert world.look().attempts == ()
    assert kept.text.count("`flwr run` failed") == 1


def test_a_damaged_order_does_not_keep_sites_from_being_registered(world, sites, control, kept):
    world.order()
    (world.book.folder("one") / "order.json").write_text("{")
    world.watch()
    sites.enrol("hospital-a")
    world.watch()
    assert control.asked == ["hospital-a"]
    assert kept.text.count("is damaged") == 1


def test_a_damaged_roster_is_said_and_shuts_nobody_out(world, sites, config, control, kept):
    key = sites.enrol("hospital-a")
    world.watch()
    config.roster.write_bytes(config.roster.read_bytes()[:-20])
    world.watch()
    assert control.node(key).status == "registered"
    assert {one["level"] for one in kept.events[-3:]} == {"error"}


def test_while_superlink_starts_nothing_is_said(config, places, control, kept, monkeypatch):
    places.write_port(free_port())
    control.trouble = ConfigError("not to be asked", expected="a", found="b", fix="c")
    world = World(config, places, control, kept.log)
    world.watch()
    assert kept.events == []
    monkeypatch.setattr(watching, "START_S", 0.0)
    world.watch()
    assert "not to be asked" in kept.text


def test_it_looks_every_few_seconds_only(world, monkeypatch):
    monkeypatch.setattr(watching, "EVERY_S", 3600.0)
    world.watch()
    world.order()
    assert world.look().attempts == ()


def test_a_run_of_another_folder_is_read_there(world, tmp_path):
    world.out = Path(tmp_path / "elsewhere")
    world.order()
    world.look()
    world.record("completed")
    world.kill()
    assert world.look().ended == "completed"
