from pathlib import Path

import pytest

import simulation
from braing3n.errors import ConfigError
from braing3n.plan import load_plan

PLANS = Path(simulation.__file__).parent / "plans"
DEMO = PLANS / "demo.yaml"


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_plan_loads(path: Path) -> None:
    assert load_plan(path).name == path.stem


def test_the_digest_depends_on_every_value_and_on_nothing_else(tmp_path: Path) -> None:
    plan = load_plan(DEMO)
    reordered = tmp_path / "plan.yaml"
    lines = DEMO.read_text().splitlines(keepends=True)
    start = next(index for index, line in enumerate(lines) if line.startswith("stages"))
    reordered.write_text("".join(lines[start:] + lines[:start]))
    assert load_plan(reordered).digest == plan.digest
    assert load_plan(DEMO, "stages.decoder.optimizer.proximal_mu=1e-9").digest != plan.digest


def test_a_sweep_replaces_values_at_any_depth() -> None:
    plan = load_plan(DEMO, "seed=7 stages.pretrain.optimizer.learning_rate=1e-5 name=other")
    assert (plan.seed, plan.stages.pretrain.optimizer.learning_rate, plan.name) == (7, 1e-5, "other")


def test_a_sweep_may_set_what_the_file_leaves_to_its_default() -> None:
    plan = load_plan(DEMO, "stages.pretrain.server.name=fedadam")
    assert plan.stages.pretrain.server.name == "fedadam"


def test_the_moving_average_needs_steps() -> None:
    with pytest.raises(ConfigError, match="the moving average counts steps"):
        load_plan(DEMO, "stages.diffusion.local_steps=null stages.diffusion.local_epochs=1")


@pytest.mark.parametrize("sweep", ["seed", "a.b=3", "name=[x", "stages.nothing.rounds=3", "ronds=3",
                                   "seed=1.5", "preset=huge", "epsilon=.nan"])
def test_a_sweep_that_does_not_fit_is_refused(sweep: str) -> None:
    with pytest.raises(ConfigError):
        load_plan(DEMO, sweep)


def test_work_is_given_in_steps_or_in_epochs_but_not_both_or_neither() -> None:
    with pytest.raises(ConfigError, match="exactly one of local_steps and local_epochs"):
        load_plan(DEMO, "stages.decoder.local_epochs=1")
    with pytest.raises(ConfigError, match="exactly one of local_steps and local_epochs"):
        load_plan(DEMO, "stages.decoder.local_steps=null")
    plan = load_plan(DEMO, "stages.decoder.local_steps=null stages.decoder.local_epochs=2 "
                           "stages.decoder.batch_size=4")
    assert plan.stages.decoder.steps(30) == 15
    assert plan.stages.decoder.steps(1) == 1


def test_a_plan_that_draws_fewer_sites_than_a_round_needs_is_refused() -> None:
    with pytest.raises(ConfigError, match="sites_per_round of at least min_sites"):
        load_plan(DEMO, "min_sites=3 sites_per_round=2")


def test_the_stages_of_a_run_end_with_the_last_one() -> None:
    assert load_plan(DEMO).stage_names == ("pretrain", "decoder", "diffusion")
    assert load_plan(DEMO, "last_stage=decoder").stage_names == ("pretrain", "decoder")


def test_a_plan_without_probes_has_the_digest_that_it_had_before_there_were_any() -> None:
    plan = load_plan(DEMO)
    assert "probes" not in plan.canonical()
    assert load_plan(DEMO, "probes=[]").digest == plan.digest
    assert load_plan(DEMO, "probes=[age]").digest != plan.digest


@pytest.mark.parametrize("probes", ["age", "[age,age]", "[Age]", "[age/svm]", "[../x]"])
def test_probes_are_names_of_tasks_each_once(probes: str) -> None:
    with pytest.raises(ConfigError, match="probes"):
        load_plan(DEMO, f"probes={probes}")
