import json

import pytest

from braing3n.errors import ConfigError, OutputError
from braing3n.report.run_folder import PlanLimit, load_metrics, load_plan_budget, load_run


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(OutputError, match="holds no run"):
        load_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"schema": 1}', "null", "\x00"])
def test_a_malformed_run_json_is_told_without_a_traceback(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(OutputError, match=r"run\.json is malformed"):
        load_run(tmp_path)


def test_a_run_json_that_is_not_text_is_told(tmp_path):
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OutputError, match="cannot be read"):
        load_run(tmp_path)


def test_a_mistake_in_run_json_is_named_by_its_path(tmp_path):
    record = {"stages": [{"name": "pretrain", "rounds": "many"}]}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(OutputError) as caught:
        load_run(tmp_path)
    assert "`stages.0.rounds`" in caught.value.found


def test_a_malformed_line_of_metrics_is_told_by_its_number(tmp_path):
    good = {"stage": "decoder", "round": 1, "site": "a", "phase": "train", "metrics": {"loss": 1}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(good) + "\n{\n")
    with pytest.raises(OutputError, match="line 2 of"):
        load_metrics(tmp_path)


def test_a_run_without_metrics_has_no_lines(tmp_path):
    assert load_metrics(tmp_path) == []


@pytest.mark.parametrize(("text", "budget"), [
    ("name: demo\n", None), ("budget: null\n", None),
    ("budget: {epsilon: 8.0, delta: 1e-5}\n", PlanLimit(8.0, 1e-5)),
    ("budget: {epsilon: 8}\n", PlanLimit(8.0, None)),
    ("budget: 8\n", None), ("budget: {epsilon: much}\n", None), (None, None)])
def test_the_plans_budget_is_read_where_it_has_one(text, budget, tmp_path):
    if text is not None:
        (tmp_path / "plan.yaml").write_text(text)
    assert load_plan_budget(tmp_path) == budget


def test_a_plan_that_is_no_yaml_is_told(tmp_path):
    (tmp_path / "plan.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_plan_budget(tmp_path)
