import json
from pathlib import Path

import pytest

from braing3n.plan import load_plan
from braing3n.weights import load_weights
from server.starts import start_of, start_statistics
from simulation.run import PLANS
from simulation.warm_start import SEED, make_warm_start

TINY = " ".join([
    "stages.pretrain.rounds=1", "stages.pretrain.local_steps=2", "stages.decoder.rounds=1",
    "stages.decoder.local_steps=1", "stages.diffusion.rounds=1", "stages.diffusion.local_steps=1",
    "stages.diffusion.sampling_steps=2"])
PLAN = load_plan(PLANS / "demo-dp.yaml")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_warm_start(tmp_path_factory.mktemp("start") / "warm", PLAN, subjects=8, sweep=TINY)


def test_every_stage_of_a_plan_can_start_from_what_was_trained(warm: Path) -> None:
    for stage in PLAN.stage_names:
        start = start_of(PLAN, stage, warm)
        kept = load_weights(warm / f"{stage}.safetensors")
        assert start.source == "phantom"
        assert all((start.weights[name] == kept[name]).all() for name in kept)


def test_diffusion_keeps_the_statistics_that_its_weights_were_trained_with(warm: Path) -> None:
    kept = load_weights(warm / "run" / "model" / "statistics.safetensors")
    given = start_statistics(PLAN, warm)
    assert all((given[name] == kept[name]).all() for name in kept)


def test_its_synthetic_people_are_of_a_seed_of_their_own(warm: Path) -> None:
    record = json.loads((warm / "start.json").read_text())
    assert (record["source"], record["seed"], record["subjects"]) == ("phantom", SEED, 8)
    assert SEED not in {load_plan(path).seed for path in PLANS.glob("*.yaml")}
    assert len(list((warm / "phantom").glob("site-*"))) == 8
    assert len(list((warm / "pooled").glob("sub-*"))) == 8


def test_what_is_whole_is_not_made_again(warm: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in warm.glob("*.safetensors")}
    assert make_warm_start(warm, PLAN, subjects=8, sweep=TINY) == warm
    assert {path: path.stat().st_mtime_ns for path in warm.glob("*.safetensors")} == before
