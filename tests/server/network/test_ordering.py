"""What a person orders of the server: a run, its stop, that it goes on."""

import json

import pytest

from braing3n.errors import ConfigError, OutputError
from server.network.ordering import order_resume, order_run, order_stop
from server.network.orders import Attempt, OrderBook
from server.network.places import Places
from simulation.run import PLANS

PLAN = PLANS / "demo.yaml"


@pytest.fixture
def submit(config):
    def run(plan=PLAN, **more):
        options = {"name": None, "out": None, "sweep": "", "start": None}
        return order_run(config, plan, **(options | more))

    return run


@pytest.fixture
def book(config):
    return OrderBook(Places.of(config))


def end(book, name, how, **more):
    return book.write(book.get(name).model_copy(update={"ended": how, **more}))


def record(order, **content):
    from pathlib import Path

    out = Path(order.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(content))
    return out / "run.json"


def test_a_run_gets_a_name_of_its_plan_and_the_time_and_a_folder_in_the_state_folder(
        submit, book, config):
    order = submit()
    assert order.name.startswith("demo-20")
    assert order.out == str(config.state_dir / "runs" / order.name / "out")
    assert book.plan_path(order.name).read_bytes() == PLAN.read_bytes()
    assert (order.wanted, order.ended, order.attempts) == ("run", "", ())


def test_a_sweep_is_another_plan(submit, book):
    first = submit(name="one")
    end(book, "one", "completed")
    assert submit(name="two", sweep="seed=3").plan_digest != first.plan_digest


@pytest.mark.parametrize("name", ["", "../two", "a/b", ".lock", "a b", "a\n", "ü", "a" * 121])
def test_what_can_be_no_folder_is_no_name(submit, book, name):
    with pytest.raises(ConfigError, match="no run's name"):
        submit(name=name)
    assert book.all() == []


def test_a_wrong_plan_is_refused_before_anything_is_ordered(submit, book, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: x\nrounds: many\n")
    with pytest.raises(ConfigError):
        submit(plan)
    with pytest.raises(ConfigError):
        submit(sweep="no_such_key=1")
    assert book.all() == []


@pytest.mark.parametrize("kind", ["file", "filled"])
def test_a_folder_that_is_taken_is_refused(submit, book, tmp_path, kind):
    out = tmp_path / "out"
    if kind == "file":
        out.touch()
    else:
        out.mkdir()
        (out / "run.json").touch()
    with pytest.raises(OutputError, match="is taken"):
        submit(out=out)
    assert book.all() == []


def test_a_relative_folder_is_of_where_the_command_was_given(submit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    assert submit(out=Path("here")).out == str(tmp_path / "here")


def test_one_run_at_a_time(submit):
    submit(name="one")
    with pytest.raises(ConfigError, match="another run is not over yet"):
        submit(name="two")


def test_a_stop_is_noted_and_may_be_said_twice(submit, book, config):
    submit(name="one")
    order_stop(config, None)
    order_stop(config, "one")
    assert book.get("one").wanted == "stop"


def test_what_is_over_cannot_be_stopped(submit, book, config):
    submit(name="one")
    end(book, "one", "completed with 2 of 2 sites")
    with pytest.raises(ConfigError, match="run one is over") as told:
        order_stop(config, "one")
    assert told.value.found == "completed with 2 of 2 sites"


def test_stop_and_resume_of_a_run_that_there_is_not_are_told(config):
    for command in (order_stop, order_resume):
        with pytest.raises(ConfigError, match="no such run"):
            command(config, "one")


@pytest.mark.parametrize(("wanted", "found"), [("run", "one at work"), ("stop", "being stopped")])
def test_what_is_not_over_is_not_resumed(submit, book, config, wanted, found):
    order = submit(name="one")
    book.write(order.model_copy(update={"wanted": wanted}))
    with pytest.raises(ConfigError, match=found):
        order_resume(config, None)


def test_what_is_complete_is_not_resumed(submit, book, config):
    record(submit(name="one"), status="completed with 1 of 2 sites")
    end(book, "one", "completed with 1 of 2 sites")
    with pytest.raises(ConfigError, match="run one is complete"):
        order_resume(config, None)


def test_a_run_that_failed_goes_on_and_its_deaths_before_do_not_count(submit, book, config):
    order = submit(name="one")
    path = record(order, status="failed: too few sites", ended="2026-01-31T12:00:00+00:00", id="x")
    attempts = (Attempt(flower_run=7, at="2026-01-31T12:00:05Z", place="at its beginning"),)
    end(book, "one", "failed: too few sites", wanted="stop", attempts=attempts)
    again = order_resume(config, None)
    assert (again.wanted, again.ended, again.resumed_after) == ("run", "", 1)
    assert book.get("one") == again
    # Else it would seem to have failed again, were its ServerApp killed before it says a word.
    assert json.loads(path.read_text()) == {"status": "running", "ended": None, "id": "x"}


def test_a_run_is_not_resumed_beside_another(submit, book, config):
    submit(name="one")
    end(book, "one", "stopped by a person", wanted="stop")
    submit(name="two")
    with pytest.raises(ConfigError, match="another run is not over yet"):
        order_resume(config, "one")
    assert book.get("one").is_over
