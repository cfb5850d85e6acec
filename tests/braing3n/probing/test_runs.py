import pytest

from braing3n.errors import ConfigError
from braing3n.probing.runs import check_run


def _run(folder, *, is_done=True):
    (folder / "model").mkdir(parents=True)
    (folder / "plan.yaml").write_text("name: a\n")
    if is_done:
        (folder / "model/encoder.safetensors").touch()
    return folder


def test_the_folder_of_a_finished_run_is_as_it_has_to_be(tmp_path):
    check_run(_run(tmp_path / "first"))


def test_a_comparison_is_told_from_a_run_and_its_arms_are_named(tmp_path):
    for arm in ("federated", "local-a", "pooled"):
        _run(tmp_path / "compare/arms" / arm)
    with pytest.raises(ConfigError, match="is the folder of a comparison") as refused:
        check_run(tmp_path / "compare")
    assert refused.value.found == "its arms: federated, local-a, pooled"
    assert f"--model {tmp_path}/compare/arms/federated" in refused.value.fix


def test_without_a_federated_arm_another_is_proposed(tmp_path):
    _run(tmp_path / "compare/arms/pooled")
    with pytest.raises(ConfigError, match="comparison") as refused:
        check_run(tmp_path / "compare")
    assert f"--model {tmp_path}/compare/arms/pooled" in refused.value.fix


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(ConfigError, match="is no folder") as refused:
        check_run(tmp_path / "gone")
    assert refused.value.found == "nothing there"
    assert "permission" not in str(refused.value)


def test_of_a_folder_of_runs_the_runs_are_named(tmp_path):
    _run(tmp_path / "runs/first")
    with pytest.raises(ConfigError, match="is no run's folder") as refused:
        check_run(tmp_path / "runs")
    assert refused.value.found == "no plan.yaml in it"
    assert f"--model {tmp_path}/runs/first" in refused.value.fix
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="is no run's folder") as refused:
        check_run(tmp_path / "other")
    assert "braing3n sim run --out" in refused.value.fix


def test_a_run_that_is_not_over_its_first_stage_has_no_encoder_yet(tmp_path):
    with pytest.raises(ConfigError, match="has no encoder") as refused:
        check_run(_run(tmp_path / "first", is_done=False))
    assert "goes on" in refused.value.fix
