"""What a plan may say of differential privacy, and that all of it is in the plan's digest."""

from pathlib import Path

import pytest

import simulation
from braing3n.errors import ConfigError
from braing3n.plan import STAGE_NAMES, Plan, load_plan
from braing3n.privacy_plan import PlanBudget, StagePrivacy

PLANS = Path(simulation.__file__).parent / "plans"
DEMO, PLAIN = PLANS / "demo-dp.yaml", PLANS / "demo.yaml"
PRIVACY = "stages.pretrain.privacy"


def test_the_demo_has_dp_in_all_three_stages() -> None:
    plan = load_plan(DEMO)
    assert all(plan.stage(name).privacy is not None for name in STAGE_NAMES)
    assert plan.budget is not None
    assert plan.budget.epsilon == 8.0


@pytest.mark.parametrize("sweep", [
    f"{PRIVACY}.noise_multiplier=0", f"{PRIVACY}.noise_multiplier=-1", f"{PRIVACY}.sample_rate=0",
    f"{PRIVACY}.sample_rate=1.01", f"{PRIVACY}.clip_norm=0", f"{PRIVACY}.views=0",
    f"{PRIVACY}.views=65", f"{PRIVACY}.loss_bound=0", f"{PRIVACY}.release_noise_multiplier=0",
    f"{PRIVACY}.moments_bound=0", f"{PRIVACY}.unit=patient", f"{PRIVACY}.epsilon=1",
    f"{PRIVACY}.noise_multiplier=.inf", f"{PRIVACY}.noise_multiplier=.nan",
    "budget.epsilon=0", "budget.delta=0.01", "budget.delta=0", "budget.num_subjects=0",
    "budget.site_subjects.site-a=0",
])
def test_numbers_that_mean_nothing_are_no_plan(sweep: str) -> None:
    with pytest.raises(ConfigError):
        load_plan(DEMO, sweep)


def test_a_stage_with_privacy_needs_a_budget() -> None:
    with pytest.raises(ConfigError, match="1 mistake") as wrong:
        load_plan(DEMO, "budget=null stages.decoder.privacy=null")
    assert wrong.value.expected.startswith("`budget`: the most that a run may cost a site, as there is "
                                           "`privacy` in pretrain, diffusion")
    assert wrong.value.found == "no `budget`"
    assert "write a `budget:`" in wrong.value.fix


def test_the_number_of_steps_may_not_come_from_the_number_of_scans() -> None:
    sweep = "stages.pretrain.local_steps=null stages.pretrain.local_epochs=1"
    with pytest.raises(ConfigError, match="local_steps, not local_epochs") as wrong:
        load_plan(DEMO, sweep)
    assert wrong.value.expected == (
        "`stages.pretrain.local_steps`: a number of steps, as the stage has `privacy`")
    assert wrong.value.found == "no `stages.pretrain.local_steps`"
    assert load_plan(PLAIN, sweep).stages.pretrain.local_epochs == 1


def test_a_site_is_taken_to_have_the_plans_number_or_its_own_public_one() -> None:
    budget = PlanBudget(epsilon=8.0, num_subjects=120, site_subjects={"site-b": 40})
    assert (budget.subjects_at("site-a"), budget.subjects_at("site-b")) == (120, 40)


@pytest.mark.parametrize("sweep", [
    *(f"{PRIVACY}.{change}" for change in (
        "noise_multiplier=1.51", "sample_rate=0.26", "clip_norm=1.1", "views=5", "unit=volume",
        "loss_bound=2.1", "release_noise_multiplier=4.1", "moments_bound=2.1")),
    "budget.epsilon=8.1", "budget.delta=1e-6", "budget.num_subjects=17", "budget.cohort=a",
    "budget.site_subjects.site-a=3", "stages.pretrain.start=public",
])
def test_every_number_is_in_the_digest(sweep: str) -> None:
    assert load_plan(DEMO, sweep).digest != load_plan(DEMO).digest


@pytest.mark.parametrize("path", [DEMO, PLAIN])
def test_a_plan_is_read_back_from_its_canonical_text(path: Path) -> None:
    plan = load_plan(path)
    again = Plan.model_validate_json(plan.canonical())
    assert (again, again.digest) == (plan, plan.digest)


def test_nothing_can_be_changed_once_it_is_read() -> None:
    privacy = StagePrivacy(noise_multiplier=1.0, sample_rate=0.1, clip_norm=1.0)
    with pytest.raises(ValueError, match="frozen"):
        privacy.noise_multiplier = 0.1  # type: ignore[misc]
