"""Options of a plan over a whole run: sixteen bits, robust merging."""

import json
from pathlib import Path

import pytest

from braing3n.plan import load_plan
from braing3n.weights import load_weights
from simulation.grid import run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files


def run(out: Path, cohort: Path, sweep: str) -> Path:
    plan = load_plan(PLANS / "demo.yaml", sweep)
    run_locally(PLANS / "demo.yaml", write_site_files(find_site_folders(cohort), out, plan), out,
                sweep=sweep)
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path, short_plan: str) -> Path:
    return run(tmp_path_factory.mktemp("plain") / "out", phantom_cohort,
               f"{short_plan} last_stage=pretrain")


def test_updates_in_sixteen_bits_take_half_the_bytes_and_give_nearly_the_same(
    tmp_path: Path, plain: Path, phantom_cohort: Path, short_plan: str
) -> None:
    half = run(tmp_path / "out", phantom_cohort,
               f"{short_plan} last_stage=pretrain stages.pretrain.payload=bfloat16")
    bytes_up = [json.loads((out / "run.json").read_text())["stages"][0]["bytes_up"]
                for out in (half, plain)]
    assert bytes_up[0] == pytest.approx(bytes_up[1] / 2, rel=0.02)
    one, other = (load_weights(out / "model" / "encoder.safetensors") for out in (half, plain))
    assert one.keys() == other.keys()
    assert any((one[name] != other[name]).any() for name in one)
    far = max(float((one[name] - other[name]).abs().max()) for name in one)
    assert far < 1e-3
    assert json.loads((half / "run.json").read_text())["status"] == "completed"


def test_a_run_by_a_robust_rule_with_too_few_sites_fails_and_says_so(
    tmp_path: Path, phantom_cohort: Path, short_plan: str
) -> None:
    with pytest.raises(Exception, match="too few updates for trimmed_mean"):
        run(tmp_path / "out", phantom_cohort, f"{short_plan} stages.pretrain.merge.method=trimmed_mean")
    status = json.loads((tmp_path / "out" / "run.json").read_text())["status"]
    assert status.startswith("failed: there are too few updates")
    assert not list((tmp_path / "out").glob(".merging-*"))


def test_bounds_on_norms_change_nothing_where_all_are_usual(
    tmp_path: Path, plain: Path, phantom_cohort: Path, short_plan: str
) -> None:
    bounded = run(tmp_path / "out", phantom_cohort, f"{short_plan} last_stage=pretrain "
                  "stages.pretrain.merge.clip_norm_ratio=100.0")
    assert ((bounded / "model" / "encoder.safetensors").read_bytes()
            == (plain / "model" / "encoder.safetensors").read_bytes())
