"""What a site lets be asked of it, decided without anything but settings, plan and ledger."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

import simulation
from braing3n.budget import BudgetConfig
from braing3n.errors import BudgetError, PolicyError, ReplayError
from braing3n.plan import STAGE_NAMES, StageName, load_plan
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.events import Event
from braing3n.privacy.ledger import Ledger, open_ledger
from braing3n.privacy.ledger_entry import Entry, MechanismRecord, SpentRecord, What
from braing3n.privacy.planning import planned_releases
from braing3n.privacy.policy import Order, check_budget, check_order, check_sequence

DEMO = Path(simulation.__file__).parent / "plans" / "demo-dp.yaml"
# Numbers of the tests' own, whatever the demo is tuned to.
NUMBERS = " ".join(f"stages.{stage}.privacy.{key}={value}" for stage in STAGE_NAMES for key, value in (
    ("noise_multiplier", 1.5), ("sample_rate", 0.25), ("clip_norm", 1.0)))
NUMBERS += " stages.diffusion.start=fresh stages.pretrain.rounds=4 stages.pretrain.measure_every=3"
PLAN = load_plan(DEMO, NUMBERS)
STRICT = BudgetConfig(epsilon=8.0, cohort="memory-clinic", min_noise_multiplier=1.5,
                      max_sample_rate=0.25)
UPDATE: Sequence[What] = ["update"]


def order(sweep: str = "", stage: StageName = "pretrain", round_index: int = 0,
          run: str = "run-1") -> Order:
    return Order(run, load_plan(DEMO, f"{NUMBERS} {sweep}") if sweep else PLAN, stage, round_index)


def test_a_plan_within_every_bound_is_taken_as_it_is() -> None:
    assert check_order(order(), STRICT) == PLAN.stages.pretrain.privacy


@pytest.mark.parametrize(("sweep", "why"), [
    ("stages.pretrain.privacy.noise_multiplier=1.4999", "too little noise"),
    ("stages.pretrain.privacy.release_noise_multiplier=1.4999", "too little noise"),
    ("stages.pretrain.privacy.sample_rate=0.2501", "too many subjects"),
    ("stages.pretrain.privacy.unit=volume", "another unit"),
    ("budget.cohort=stroke-unit", "another cohort"),
    ("stages.pretrain.privacy=null", "without differential privacy"),
])
def test_a_plan_beyond_a_bound_is_refused(sweep: str, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        check_order(order(sweep), STRICT)


def test_a_plan_that_names_the_sites_own_cohort_is_taken() -> None:
    check_order(order("budget.cohort=memory-clinic"), STRICT)


def test_the_refusal_of_a_cohort_names_nobodys_cohort() -> None:
    with pytest.raises(PolicyError) as refused:
        check_order(order("budget.cohort=stroke-unit"), STRICT)
    assert "stroke-unit" not in str(refused.value)
    assert "memory-clinic" not in str(refused.value)


def test_a_stage_that_the_site_leaves_to_others_is_refused() -> None:
    some = STRICT.model_copy(update={"stages": ("pretrain",)})
    check_order(order(), some)
    with pytest.raises(PolicyError, match="no part in this stage"):
        check_order(order(stage="decoder"), some)


# --- the order of things -----------------------------------------------------------------------

STEPS = MechanismRecord(name="poisson_gaussian", sample_rate=0.25, noise_multiplier=1.5, steps=4,
                        clip_norm=1.0, views=4, engine="loop", num_subjects=16)
SPENT = SpentRecord(pld=1.0, rdp=1.2, delta=1e-5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(tmp_path) as opened:
        yield opened


def reserve(ledger: Ledger, done: Order, what: What = "update", **change: Any) -> Entry:
    fields = {"run": done.run, "stage": done.stage, "round_index": done.round_index,
              "cohort": "patients", "what": what, "mechanism": STEPS, "spent": SPENT,
              "plan_digest": done.plan.digest, **change}
    return ledger.reserve(**fields)


def release(ledger: Ledger, done: Order, what: What = "update") -> None:
    ledger.settle(reserve(ledger, done, what), steps=4, spent=SPENT, released_digest="e" * 64)


def test_a_round_that_was_released_is_not_computed_again(ledger: Ledger) -> None:
    release(ledger, order())
    with pytest.raises(ReplayError, match="released already"):
        check_sequence(order(), UPDATE, ledger)


def test_a_round_before_one_that_was_released_is_not_computed(ledger: Ledger) -> None:
    release(ledger, order(round_index=1))
    with pytest.raises(ReplayError):
        check_sequence(order(round_index=0), UPDATE, ledger)


def test_no_stage_is_gone_back_to(ledger: Ledger) -> None:
    release(ledger, order(stage="decoder"))
    with pytest.raises(ReplayError):
        check_sequence(order(round_index=1), UPDATE, ledger)
    check_sequence(order(stage="diffusion"), UPDATE, ledger)


def test_a_round_that_was_reserved_and_lost_may_be_computed_once_more(ledger: Ledger) -> None:
    reserve(ledger, order())
    check_sequence(order(), UPDATE, ledger)


def test_rounds_may_be_missed(ledger: Ledger) -> None:
    release(ledger, order(stage="diffusion", round_index=0))
    check_sequence(order(stage="diffusion", round_index=1), UPDATE, ledger)


def test_another_run_begins_from_its_own_first_round(ledger: Ledger) -> None:
    release(ledger, order(round_index=1))
    check_sequence(order(run="run-2"), UPDATE, ledger)


@pytest.mark.parametrize("sweep", ["stages.pretrain.rounds=9", "seed=1",
                                   "stages.pretrain.privacy.noise_multiplier=1.6"])
def test_a_run_keeps_the_plan_that_it_began_with(ledger: Ledger, sweep: str) -> None:
    reserve(ledger, order())
    with pytest.raises(PolicyError, match="another plan than it began with"):
        check_sequence(order(sweep, round_index=1), UPDATE, ledger)


def test_a_plan_that_was_only_refused_binds_nobody(ledger: Ledger) -> None:
    ledger.refuse("budget", run="run-1", stage="pretrain", round_index=0, cohort="patients",
                  plan_digest="f" * 64)
    check_sequence(order(), UPDATE, ledger)


def test_a_stage_trained_without_dp_binds_the_plan_too(ledger: Ledger) -> None:
    ledger.note("without_dp", run="run-1", stage="pretrain", round_index=0, cohort="patients",
                plan_digest="f" * 64)
    with pytest.raises(PolicyError, match="another plan"):
        check_sequence(order(stage="decoder"), UPDATE, ledger)


def test_a_round_beyond_the_plan_is_refused(ledger: Ledger) -> None:
    last = PLAN.stages.pretrain.rounds - 1
    check_sequence(order(round_index=last), UPDATE, ledger)
    with pytest.raises(PolicyError, match="asks for no update here"):
        check_sequence(order(round_index=last + 1), UPDATE, ledger)


@pytest.mark.parametrize(("stage", "round_index"), [
    ("pretrain", 2), ("decoder", 0), ("diffusion", 2)])
def test_moments_are_given_where_the_plan_asks_for_them_and_nowhere_else(
    ledger: Ledger, stage: StageName, round_index: int
) -> None:
    check_sequence(order(stage="decoder", round_index=1), ["moments"], ledger)
    with pytest.raises(PolicyError, match="no moments here"):
        check_sequence(order(stage=stage, round_index=round_index), ["moments"], ledger)


def test_metrics_go_with_a_round_but_never_twice(ledger: Ledger) -> None:
    release(ledger, order(), "metrics")
    check_sequence(order(), UPDATE, ledger)
    with pytest.raises(ReplayError):
        check_sequence(order(), ["update", "metrics"], ledger)


# --- what fits ---------------------------------------------------------------------------------

def event(round_index: int = 0, stage: StageName = "pretrain", run: str = "run-1",
          steps: int = 4) -> Event:
    return Event(mechanism="poisson_gaussian", sample_rate=0.25, noise_multiplier=1.5, steps=steps,
                 stage=stage, round_index=round_index, run=run)


def with_epsilon(limit: float, **change: Any) -> BudgetConfig:
    return BudgetConfig(epsilon=limit, **change)


def test_work_fits_up_to_the_budget_and_not_beyond_it() -> None:
    cost = epsilon([event(0), event(1)], 1e-5)
    roomy = order("budget.epsilon=100")
    check_budget([event(1)], [], [event(0)], roomy, with_epsilon(cost))
    with pytest.raises(BudgetError, match="the site's whole budget"):
        check_budget([event(1)], [], [event(0)], roomy, with_epsilon(cost * (1 - 1e-9)))


def test_a_run_that_cannot_end_within_the_budget_is_not_begun() -> None:
    first, rest = event(0), [event(1), event(0, "decoder")]
    budget = with_epsilon(epsilon([first, rest[0]], 1e-5))
    check_budget([first], rest[:1], [], order(), budget)
    with pytest.raises(BudgetError, match="the run does not fit"):
        check_budget([first], rest, [], order(), budget)


def test_what_other_runs_spent_counts_for_the_site_but_not_for_the_plan() -> None:
    earlier = [event(run="run-0", steps=40)]
    alone, both = epsilon([event()], 1e-5), epsilon([*earlier, event()], 1e-5)
    plan = order(f"budget.epsilon={alone}")
    check_budget([event()], [], earlier, plan, with_epsilon(both))
    with pytest.raises(BudgetError, match="the site's whole budget"):
        check_budget([event()], [], earlier, plan, with_epsilon(both * 0.999))
    with pytest.raises(BudgetError, match="the plan's own budget"):
        check_budget([event(1)], [], [*earlier, event()], plan, with_epsilon(100.0))


def test_the_cap_of_a_stage_is_over_all_runs_and_for_that_stage_alone() -> None:
    cost = epsilon([event()], 1e-5)
    budget = with_epsilon(100.0, stage_epsilon={"pretrain": cost})
    earlier = [event(run="run-0")]
    with pytest.raises(BudgetError, match="cap for pretrain"):
        check_budget([event()], [], earlier, order(), budget)
    check_budget([event(0, "decoder")], [], earlier, order(stage="decoder"), budget)


def test_what_cannot_be_accounted_for_never_fits() -> None:
    with pytest.raises(BudgetError, match="does not fit") as refused:
        check_budget([event(steps=10**7)], [], [], order("budget.epsilon=1e300"),
                     with_epsilon(1e300))
    assert refused.value.found == "more than can be accounted for"


def test_all_that_a_plan_may_ask_for_was_counted_before_its_first_round(ledger: Ledger) -> None:
    """What `check_sequence` lets pass is what `planned_events` adds up."""
    allowed = set()
    for stage in PLAN.stage_names:
        for round_index in range(PLAN.stage(stage).rounds + 2):
            for what in get_args(What):
                asked = Order("run-1", PLAN, stage, round_index)
                try:
                    check_sequence(asked, [what], ledger)
                except PolicyError:
                    continue
                allowed.add((what, stage, round_index))
    planned = {(what, one.stage, one.round_index) for what, one in planned_releases(
        PLAN, "run-1", ("update", "moments", "metrics"))}
    assert {one for one in allowed if one[0] != "counts"} == planned
    # A site counts once in a run, in the first round that it works in: which that is, is not known.
    assert {one[1:] for one in allowed if one[0] == "counts"} == {
        one[1:] for one in planned if one[0] == "update"}
