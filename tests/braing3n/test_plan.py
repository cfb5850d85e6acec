import hashlib
import json
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


@pytest.mark.parametrize("sweep", ["seed", "a.b=3", "name=[x", "stages.nothing.rounds=3", "ronds=3",
                                   "seed=1.5", "preset=huge", "epsilon=.nan"])
def test_a_sweep_that_does_not_fit_is_refused(sweep: str) -> None:
    with pytest.raises(ConfigError):
        load_plan(DEMO, sweep)


@pytest.mark.parametrize(("sweep", "key", "expected", "found", "fix"), [
    ("stages.decoder.local_epochs=1", "stages.decoder.local_epochs", "exactly one of local_steps",
     "`stages.decoder.local_epochs: 1.0`", "either local_steps or local_epochs"),
    ("stages.decoder.local_steps=null", "stages.decoder.local_steps", "exactly one of local_steps",
     "no `stages.decoder.local_steps`", "either local_steps or local_epochs"),
    ("stages.diffusion.local_steps=null stages.diffusion.local_epochs=1",
     "stages.diffusion.local_steps", "a number of steps: the moving average counts steps",
     "no `stages.diffusion.local_steps`", "local_steps, not local_epochs"),
    ("stages.diffusion.condition_dropout=0 stages.diffusion.guidance=2",
     "stages.diffusion.condition_dropout", "above 0, as `guidance: 2`",
     "`stages.diffusion.condition_dropout: 0.0`", "raise `condition_dropout`"),
    ("min_sites=3 sites_per_round=2", "sites_per_round", "at least `min_sites: 3`",
     "`sites_per_round: 2`", "raise `sites_per_round`"),
    ("probes=[age,sex,age]", "probes", "each once, not age twice", "`probes: ['age', 'sex', 'age']`",
     "name each task"),
])
def test_keys_that_do_not_fit_each_other_are_named(
    sweep: str, key: str, expected: str, found: str, fix: str
) -> None:
    with pytest.raises(ConfigError, match="1 mistake") as wrong:
        load_plan(DEMO, sweep)
    assert wrong.value.expected.startswith(f"`{key}`: {expected}")
    assert wrong.value.found == found
    assert fix in wrong.value.fix


def test_rules_of_a_plan_that_are_broken_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="2 mistakes") as wrong:
        load_plan(DEMO, "min_sites=3 sites_per_round=2 probes=[age,age]")
    assert "`sites_per_round`: " in wrong.value.expected
    assert "`probes`: " in wrong.value.expected


def test_how_long_a_lost_site_is_waited_for_may_be_no_time_and_not_less() -> None:
    assert load_plan(DEMO).wait_for_lost_s == 120
    assert load_plan(DEMO, "wait_for_lost_s=0").wait_for_lost_s == 0
    with pytest.raises(ConfigError, match="1 mistake"):
        load_plan(DEMO, "wait_for_lost_s=-1")


def test_a_sites_key_in_a_plan_is_named() -> None:
    with pytest.raises(ConfigError, match="no key `probe_methods`"):
        load_plan(DEMO, "probe_methods=[ridge]")


def test_epochs_become_steps_by_the_number_of_volumes() -> None:
    plan = load_plan(DEMO, "stages.decoder.local_steps=null stages.decoder.local_epochs=2 "
                           "stages.decoder.batch_size=4")
    assert plan.stages.decoder.steps(30) == 15
    assert plan.stages.decoder.steps(1) == 1


def test_the_stages_of_a_run_end_with_the_last_one() -> None:
    assert load_plan(DEMO).stage_names == ("pretrain", "decoder", "diffusion")
    assert load_plan(DEMO, "last_stage=decoder").stage_names == ("pretrain", "decoder")


def test_a_plan_s_digest_is_of_its_json_with_sorted_keys_and_no_blanks() -> None:
    """As the README tells auditors: by no code of ours."""
    plan = load_plan(DEMO)
    text = json.dumps(plan.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    assert plan.digest == hashlib.sha256(text.encode()).hexdigest()
    assert load_plan(DEMO, "probes=[age]").digest != plan.digest
