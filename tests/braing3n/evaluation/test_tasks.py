from pathlib import Path

import pytest

from braing3n.errors import ConfigError
from braing3n.evaluation.tasks import load_tasks, probed_tasks


def _written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_the_shipped_tasks_are_told_whole():
    tasks = load_tasks()
    assert tasks["age"].fitted_by == "ridge"
    assert tasks["ad-vs-hc"].class_names == ("HC", "AD")
    assert tasks["idh"].class_names == ("wildtype", "mutated")
    assert tasks["survival"].fitted_by == "cox"
    assert tasks["site"].class_names is None


def test_a_file_of_ones_own_adds_tasks_and_replaces_those_of_the_same_name(tmp_path: Path):
    tasks = load_tasks(_written(tmp_path, "sex: {kind: classification, variable: sex, method: lda}\n"
                                          "hand: {kind: classification, column: [Handedness]}\n"))
    assert tasks["sex"].method == "lda"
    assert tasks["hand"].column == ("Handedness",)
    assert "age" in tasks


def test_every_mistake_is_told_at_once_by_its_tasks_name(tmp_path: Path):
    path = _written(tmp_path, "\n".join([
        "one: {kind: regression, variable: age_year}",
        "two: {kind: regression}",
        "three: {kind: survival, time: [OS], event: [dead]}",
        "four: {kind: regression, variable: age_years, methode: ridge}",
        "five: {kind: classification, variable: sex, method: cox, classes: [F]}",
    ]))
    with pytest.raises(ConfigError) as error:
        load_tasks(path)
    text = str(error.value)
    assert "has 5 mistakes" in text
    for part in ("`one.variable`", "did you mean `age_years`", "exactly one of variable and column",
                 "all of event, event_is and no_event_is", "no key `four.methode` (did you mean "
                 "`method`?)", "five.classes"):
        assert part in text


@pytest.mark.parametrize(("task", "match"), [
    ("{kind: regression, variable: sex}", "a regression of age_years or severity"),
    ("{kind: classification, variable: age_years}", "a variable with classes"),
    ("{kind: regression, variable: age_years, method: lda}", "one of ridge as the method"),
    ("{kind: regression, variable: age_years, classes: [a, b]}", "classes in a classification alone"),
    ("{kind: classification, variable: sex, cells: {F: [f], M: [m]}}", "cells with a column"),
    ("{kind: survival, column: [OS]}", "survival with a `time`"),
    ("{kind: regression, column: [x], time: [OS]}", "time and event in survival alone"),
])
def test_keys_that_do_not_fit_the_kind_are_refused(tmp_path: Path, task: str, match: str):
    with pytest.raises(ConfigError, match=match):
        load_tasks(_written(tmp_path, f"mine: {task}"))


def test_a_name_that_files_cannot_have_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"\.\./x"):
        load_tasks(_written(tmp_path, "../x: {kind: regression, variable: age_years}"))


def test_a_plans_probes_are_shipped_tasks_perhaps_by_another_method():
    tasks = probed_tasks(["age", "sex/lda", "sex"])
    assert [(name, task.fitted_by) for name, task in tasks.items()] == [
        ("age", "ridge"), ("sex/lda", "lda"), ("sex", "ridge")]
    assert tasks["sex/lda"].class_names == ("F", "M")


def test_a_probe_that_there_is_not_is_told_with_those_that_there_are():
    with pytest.raises(ConfigError) as error:
        probed_tasks(["age", "agee", "sexx/lda"])
    assert error.value.found == "agee, sexx/lda"
    assert "mgmt" in error.value.expected


def test_a_method_that_does_not_fit_the_task_is_refused():
    with pytest.raises(ConfigError, match="the plan's probe age/lda"):
        probed_tasks(["age/lda"])


def test_a_definitions_digest_follows_every_part_of_it():
    sex = load_tasks()["sex"]
    assert sex.digest == probed_tasks(["sex"])["sex"].digest
    others = [sex.model_copy(update=change) for change in (
        {"classes": ("M", "F")}, {"method": "lda"}, {"modality": "T1w"})]
    assert len({sex.digest, *(other.digest for other in others)}) == 4
