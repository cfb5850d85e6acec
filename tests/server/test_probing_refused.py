"""Sites that refuse, have too few people, are lost, or answer what they should not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message

from braing3n.config import DataConfig, SiteConfig
from braing3n.evaluation.fits.cox import choose_cox
from braing3n.evaluation.tasks import Task, probed_tasks
from braing3n.protocol import REFUSALS
from braing3n.weights import doubles_from_npy
from server.task_probe import TOO_FEW_HELD_OUT

SIZES = (36, 60, 120)
World = Callable[..., Any]


def is_of(message: Message, site: int, phase: str) -> bool:
    metadata = message.metadata
    return (metadata.message_type == "query.probe" and metadata.dst_node_id % 10 == site + 1 and
            f'"phase":"{phase}"' in message.content.config_records["message"]["json"])


def test_a_site_gives_nothing_unless_its_settings_say_so(world: World) -> None:
    config = SiteConfig(name="a", data=DataConfig(folder=Path("x")), state_dir=Path("y"))
    assert config.probe_methods == ()
    made = world(SIZES, "age", "sex", site_1=[])
    told = made.run()["tasks"]
    for task in told.values():
        assert task["refused"] == {"site-1": "policy"}
        assert task["sites"] == sorted(task["by_site"]) == ["site-0", "site-2"]
    log = (made.folder / "site-1" / "site.log").read_text()
    assert log.count("answering query.probe") == 1
    assert "and no array" in log


def test_a_method_that_is_not_allowed_is_refused_and_the_others_are_not(world: World) -> None:
    told = world(SIZES, "sex", "sex/logistic", "survival", site_1=["ridge", "cox"]).run()["tasks"]
    assert told["sex"]["refused"] == told["survival"]["refused"] == {}
    assert told["sex/logistic"]["refused"] == {"site-1": "policy"}


def test_where_too_few_sites_are_left_the_task_says_so_and_the_others_go_on(world: World) -> None:
    told = world(SIZES, "age", "sex/lda", site_1=["ridge"], site_2=["ridge"]).run()["tasks"]
    assert told["age"]["not_probed"] is told["age"]["not_measured"] is None
    assert told["sex/lda"]["not_probed"] == "not two sites with five people of F, M"
    assert told["sex/lda"]["metrics"] == told["sex/lda"]["by_site"] == {}
    assert told["sex/lda"]["sites"] == []


def test_a_plans_least_number_of_sites_holds_for_probes(world: World) -> None:
    made = world(SIZES, "age", site_0=[])
    assert made.run(min_sites=3)["tasks"]["age"]["not_probed"] == "2 usable sites, and 3 are needed"


def test_a_class_of_fewer_than_five_people_does_not_leave_a_site(world: World) -> None:
    made = world((36, 60, 8), "sex", "diagnosis", "age")
    told = made.run()["tasks"]
    train = made.sites["site-2"].sides == 0
    assert train.sum() >= 5 > np.sum(train & (made.sites["site-2"].sexes == "M"))
    assert told["age"]["train"]["site-2"]["subjects"] == train.sum()
    assert told["diagnosis"]["refused"] == {"site-2": "cohort"}
    log = (made.folder / "site-2" / "site.log").read_text()
    told_of = [json.loads(line[line.index("{"):line.rindex("}") + 1])["probe"]["tasks"]
               for line in log.splitlines() if "cells" in line]
    counts = [cell["num_subjects"] for tasks in told_of for report in tasks.values()
              for cell in report["cells"].values()]
    assert counts
    assert min(counts) >= 5


def test_a_probe_of_what_only_one_site_has_is_none(world: World) -> None:
    told = world(SIZES, "site").run()["tasks"]["site"]
    assert told["not_probed"] == "no two classes that two sites have five people of each"


def test_a_site_runs_the_definition_that_it_has_installed_and_refuses_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world(SIZES, "sex")

    def other_version(message: Message, answer: Callable[[], Message]) -> Message:
        with monkeypatch.context() as patch:
            if message.metadata.dst_node_id % 10 == 2:
                patch.setattr("client.probing.probed_tasks", lambda names: {
                    name: Task(kind="classification", variable="sex", classes=("M", "F"))
                    for name in probed_tasks(names)})
            return answer()

    told = made.run(other_version)["tasks"]["sex"]
    assert told["refused"] == {"site-1": "digest"}


def changed(reply: Message, text: Callable[[Any], None] | None = None,
            array: Callable[[np.ndarray], np.ndarray] | None = None) -> Message:
    if text is not None:
        record = reply.content.config_records["message"]
        content = json.loads(record["json"])
        text(next(iter(content["probe"]["tasks"].values())))
        record["json"] = json.dumps(content)
    if array is not None:
        data = [a.data for rec in reply.content.array_records.values() for a in rec.values()]
        reply.content["arrays"] = ArrayRecord({"x": Array(array(doubles_from_npy(data).copy()))})
    return reply


def at(place: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return change


def cell(**what: Any) -> Callable[[Any], None]:
    return lambda report: report["cells"]["all"].update(what)


@pytest.mark.parametrize(("text", "array"), [
    (None, at(3, np.nan)), (None, at(3, np.inf)), (None, at(0, 1e200)), (None, at(8, -1.0)),
    (None, lambda array: array[:-1]), (None, lambda array: np.append(array, 1.0)),
    (None, lambda array: array.astype(np.float32)), (None, lambda array: array.reshape(1, -1)),
    (None, lambda array: array[:0]),
    (cell(num=10**12), None), (cell(num=-5), None), (cell(num=3), None), (cell(num_subjects=4), None),
    (cell(num=30.5), None), (cell(num_events=10**5), None), (cell(name="sub-17"), None),
    (lambda report: report.update(cells={}), None),
    (lambda report: report["cells"].update(more=report["cells"]["all"]), None),
    (lambda report: report.update(refusal="sub-17 has no age"), None),
])
def test_an_answer_that_is_none_is_refused_and_its_site_left_out(
    text: Any, array: Any, world: World
) -> None:
    def hostile(message: Message, answer: Callable[[], Message]) -> Message:
        reply = answer()
        if is_of(message, 2, "sums") and reply.content.array_records:
            return changed(reply, text, array)
        return reply

    told = world(SIZES, "age").run(hostile)["tasks"]["age"]
    assert told["refused"] == {"site-2": "protocol"}
    assert told["sites"] == ["site-0", "site-1"]
    assert "sub-17" not in json.dumps(told)


@pytest.mark.parametrize("change", [at(0, np.nan), lambda array: array[:-3]])
def test_a_site_that_is_lost_between_steps_is_left_out_and_the_fit_begins_anew(
    change: Any, world: World
) -> None:
    made, seen = world(SIZES, "survival"), []

    def hostile(message: Message, answer: Callable[[], Message]) -> Message:
        if not is_of(message, 1, "terms"):
            return answer()
        seen.append(message)
        return changed(answer(), array=change) if len(seen) == 3 else answer()

    told = made.run(hostile)["tasks"]["survival"]
    assert told["refused"] == {"site-1": "protocol"}
    data = made.labelled("survival", 0)
    rows = [(data.features[own], data.values[own], data.events[own], np.full(own.sum(), number))
            for number, own in enumerate(data.by_site()) if number != 1]
    assert told["strength"] == choose_cox(rows).strength


@pytest.mark.parametrize("change", [
    lambda report: report["errors"].update(num_subjects=4),
    lambda report: report["errors"].update(scatter=[-1.0, 0.0, 1.0]),
    lambda report: report["errors"].update(absolute="much"),
    lambda report: report.update(pairs={"num": 9, "num_subjects": 9, "won": 3.0, "possible": 5.0}),
    lambda report: report.update(classes={"F": {"num": 9, "num_subjects": 9, "num_right": 1}}),
])
def test_scores_that_are_none_are_refused(change: Any, world: World) -> None:
    def hostile(message: Message, answer: Callable[[], Message]) -> Message:
        return changed(answer(), change) if is_of(message, 0, "scores") else answer()

    told = world(SIZES, "age").run(hostile)["tasks"]["age"]
    assert sorted(told["by_site"]) == ["site-1", "site-2"]
    assert told["metrics"]["r2"] is not None


def test_a_fit_that_nobody_could_measure_says_why(world: World) -> None:
    def failing(message: Message, answer: Callable[[], Message]) -> Message:
        if any(is_of(message, site, "scores") for site in range(len(SIZES))):
            return Message(Error(1000, "no"), reply_to=message)
        return answer()

    told = world(SIZES, "age").run(failing)["tasks"]["age"]
    assert told["not_probed"] is None
    assert told["not_measured"] == TOO_FEW_HELD_OUT


@pytest.mark.parametrize("phase", ["sums", "terms", "scores"])
def test_a_site_that_fails_is_told_by_a_word_and_the_others_go_on(phase: str, world: World) -> None:
    def failing(message: Message, answer: Callable[[], Message]) -> Message:
        if is_of(message, 0, phase):
            return Message(Error(1000, "sub-17 is ill"), reply_to=message)
        return answer()

    told = world(SIZES, "sex/logistic").run(failing)["tasks"]["sex/logistic"]
    assert told["not_probed"] is None
    assert sorted(told["by_site"]) == ["site-1", "site-2"]
    assert told["refused"] == ({} if phase == "scores" else {"site-0": "internal"})


def test_a_site_answers_a_bounded_number_of_questions_of_one_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.probing.MAX_EXCHANGES", 4)
    made = world(SIZES, "sex/logistic", "age")
    told = made.run()["tasks"]
    assert told["sex/logistic"]["refused"] == dict.fromkeys(made.sites, "policy")
    assert told["sex/logistic"]["not_probed"] is not None
    assert told["age"]["not_probed"] is None
    counts = json.loads((made.folder / "site-0" / "probes" / "r.json").read_text())
    assert counts == {"sex/logistic": 5, "age": 1}


@pytest.mark.parametrize(("bound", "value", "reason"), [
    ("MAX_EXCHANGES", 3, "its fit takes more exchanges than sites allow"),
    ("MAX_MODELS", 5, "its models are more than one message carries"),
    ("MAX_NUMBERS", 5, "its models are more than one message carries"),
])
def test_a_fit_that_asks_for_too_much_is_given_up(
    bound: str, value: int, reason: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"server.newton_rounds.{bound}", value)
    told = world(SIZES, "sex/logistic", "age").run()["tasks"]
    assert told["sex/logistic"]["not_probed"] == reason
    assert told["age"]["not_probed"] is None


def test_two_fits_that_one_message_cannot_carry_go_one_after_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = world(SIZES, "sex/logistic", "survival")
    expected = together.run()["tasks"]
    monkeypatch.setattr("server.newton_rounds.MAX_MODELS", 30)
    apart = together.run()["tasks"]
    for name, task in expected.items():
        assert apart[name]["metrics"] == task["metrics"]


@pytest.mark.parametrize("probe", ["age", "sex/lda", "sex/logistic", "survival"])
def test_numbers_without_sense_end_in_words_not_in_an_error(
    probe: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.newton_rounds.MAX_EXCHANGES", 10)

    def odd(message: Message, answer: Callable[[], Message]) -> Message:
        reply = answer()
        has_array = reply.has_content() and reply.content.array_records
        return changed(reply, array=lambda array: np.sign(array) * 1e50) if has_array else reply

    told = world(SIZES, probe).run(odd)["tasks"][probe]
    assert json.dumps(told, allow_nan=False)
    assert (told["strength"] is None) == (told["not_probed"] is not None)


def test_the_words_of_a_task_are_words_that_may_cross_the_wire() -> None:
    assert {"policy", "digest", "cohort", "protocol"} <= set(REFUSALS)
