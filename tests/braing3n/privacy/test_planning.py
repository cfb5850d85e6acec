from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.errors import BudgetError, ConfigError
from braing3n.plan import STAGE_NAMES, Plan
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.planning import (
    cost_table,
    plan_noise,
    planned_events,
    rounds_of,
    split_noise,
    with_noise,
)
from braing3n.yaml_files import load_yaml, parse
from simulation.run import PLANS

DELTA = 1e-5
ROUNDS = {"pretrain": 3, "decoder": 2, "diffusion": 4}
STEPS = {"pretrain": 50, "decoder": 40, "diffusion": 30}


def dp_plan(without=(), release=8.0, **changes) -> Plan:
    content = load_yaml(Path(PLANS / "demo.yaml"))
    content |= {"budget": {"epsilon": 8.0}} | changes
    for number, (name, stage) in enumerate(content["stages"].items()):
        stage |= {"rounds": ROUNDS[name], "local_steps": STEPS[name]}
        if name not in without:
            stage["privacy"] = {"noise_multiplier": 1.5, "sample_rate": 0.1 + 0.05 * number,
                                "clip_norm": 1.0, "release_noise_multiplier": release}
    return parse(Plan, content, "the test's plan")


def test_every_round_of_every_stage_is_planned_and_the_moments_once() -> None:
    events = planned_events(dp_plan(), "r", moments=True)
    updates = [event for event in events if event.mechanism == "poisson_gaussian"]
    assert [(event.stage, event.round_index) for event in updates] == [
        (name, number) for name in STAGE_NAMES for number in range(ROUNDS[name])]
    assert all(event.steps == STEPS[event.stage] for event in updates)
    assert [event.sample_rate for event in updates[::3]] == pytest.approx([0.1, 0.15, 0.2])
    assert {event.noise_multiplier for event in updates} == {1.5}
    assert {(event.run, event.unit) for event in events} == {("r", "subject")}
    once = [event for event in events if event.mechanism == "gaussian"]
    assert [(event.stage, event.round_index, event.noise_multiplier, event.steps, event.sample_rate)
            for event in once] == [("decoder", 2, 8.0, 1, 1.0)]


def test_moments_that_a_site_withholds_cost_nothing() -> None:
    assert all(event.mechanism != "gaussian" for event in planned_events(dp_plan(), "r", moments=False))


def test_moments_are_asked_for_whenever_there_is_a_decoder_stage() -> None:
    for last, count in (("pretrain", 0), ("decoder", 1), ("diffusion", 1)):
        events = planned_events(dp_plan(last_stage=last), "r", moments=True)
        assert sum(event.mechanism == "gaussian" for event in events) == count


@pytest.mark.parametrize(("start", "rounds", "moments"), [
    (("pretrain", 0), 9, 1), (("pretrain", 2), 7, 1), (("pretrain", 3), 6, 1), (("decoder", 1), 5, 1),
    (("decoder", 2), 4, 1), (("decoder", 3), 4, 0), (("diffusion", 0), 4, 0), (("diffusion", 3), 1, 0),
    (("diffusion", 4), 0, 0)])
def test_only_what_is_still_to_come_is_planned(start, rounds, moments) -> None:
    events = planned_events(dp_plan(), "r", moments=True, start=start)
    assert sum(event.mechanism == "poisson_gaussian" for event in events) == rounds
    assert sum(event.mechanism == "gaussian" for event in events) == moments
    assert all((STAGE_NAMES.index(event.stage), event.round_index) >= (
        STAGE_NAMES.index(start[0]), start[1]) for event in events)


def test_what_was_done_and_what_is_to_come_is_the_whole_plan() -> None:
    plan = dp_plan()
    whole = planned_events(plan, "r", moments=True)
    for number, event in enumerate(whole):
        start = (event.stage, event.round_index)
        assert planned_events(plan, "r", moments=True, start=start) == whole[number:]


def test_stages_without_privacy_or_without_the_site_cost_it_nothing() -> None:
    events = planned_events(dp_plan(without=("pretrain",)), "r", moments=True)
    assert {event.stage for event in events} == {"decoder", "diffusion"}
    events = planned_events(dp_plan(), "r", moments=True, stages=("pretrain", "diffusion"))
    assert {event.stage for event in events} == {"pretrain", "diffusion"}


@settings(max_examples=4, deadline=None)
@given(st.floats(1.5, 8.0), st.booleans())
def test_the_noise_that_is_found_fits_and_one_percent_less_does_not(target, moments) -> None:
    plan = dp_plan()
    found = plan_noise(plan, target, DELTA, moments=moments)
    events = planned_events(plan, "r", moments)
    assert epsilon(with_noise(events, found), DELTA) <= target
    assert epsilon(with_noise(events, 0.99 * found), DELTA) > target
    assert found == float(f"{found:.4g}")


@pytest.mark.parametrize(("target", "least", "most"), [(0.1, 10, 40), (200.0, 0.1, 0.4)])
def test_the_least_noise_is_found_for_small_and_large_targets(target, least, most) -> None:
    plan = dp_plan(last_stage="pretrain")
    found = plan_noise(plan, target, DELTA)
    events = planned_events(plan, "r", moments=True)
    assert least < found < most
    assert epsilon(with_noise(events, found), DELTA) <= target
    assert epsilon(with_noise(events, 0.99 * found), DELTA) > target


def test_a_plan_with_its_planned_noise_fits_its_budget() -> None:
    found = plan_noise(dp_plan(), 8.0, DELTA)
    plan = dp_plan()
    rewritten = parse(Plan, {**plan.model_dump(mode="json"), "stages": {
        name: {**plan.stage(name).model_dump(mode="json"), "privacy": {
            **plan.stage(name).privacy.model_dump(), "noise_multiplier": found}}
        for name in STAGE_NAMES}}, "the rewritten plan")
    assert cost_table(rewritten, DELTA)[-1].so_far <= 8.0


def test_what_was_spent_before_leaves_less_for_the_plan() -> None:
    plan = dp_plan()
    before = planned_events(plan, "earlier", moments=True)[:3]
    found = plan_noise(plan, 8.0, DELTA, before)
    assert found > plan_noise(plan, 8.0, DELTA)
    events = [*before, *with_noise(planned_events(plan, "r", moments=True), found)]
    assert 7.9 < epsilon(events, DELTA) <= 8.0


def test_no_noise_makes_up_for_what_was_spent_before() -> None:
    plan = dp_plan()
    before = with_noise(planned_events(plan, "earlier", moments=True), 0.7)
    with pytest.raises(BudgetError, match="no noise is enough"):
        plan_noise(plan, 8.0, DELTA, before)


def test_no_noise_makes_up_for_moments_that_cost_too_much() -> None:
    plan = dp_plan(release=0.5)
    with pytest.raises(BudgetError) as error:
        plan_noise(plan, 1.0, DELTA)
    assert "without any training" in error.value.found
    assert plan_noise(plan, 1.0, DELTA, moments=False) > 1


def test_a_plan_without_privacy_cannot_be_planned() -> None:
    with pytest.raises(ConfigError, match="nothing to plan"):
        plan_noise(dp_plan(without=STAGE_NAMES), 8.0, DELTA)


def test_splitting_the_budget_needs_more_noise_than_planning_together() -> None:
    plan = dp_plan()
    together, split = plan_noise(plan, 8.0, DELTA), split_noise(plan, 8.0, DELTA)
    assert set(split) == set(STAGE_NAMES)
    for name, noise_multiplier in split.items():
        assert noise_multiplier is not None
        assert noise_multiplier > 1.15 * together
        events = [event for event in planned_events(plan, "r", moments=True) if event.stage == name]
        assert epsilon(with_noise(events, noise_multiplier), DELTA / 3) <= 8 / 3


def test_a_stage_whose_share_does_not_pay_its_release_has_no_noise() -> None:
    split = split_noise(dp_plan(release=1.5), 6.0, DELTA)
    assert split["decoder"] is None
    assert split["pretrain"] is not None


def test_the_table_of_costs_composes_what_its_rows_add() -> None:
    plan = dp_plan()
    rows = cost_table(plan, DELTA)
    events = planned_events(plan, "r", moments=True)
    assert [row.stage for row in rows] == list(STAGE_NAMES)
    assert [(row.rounds, row.steps) for row in rows] == [(3, 150), (2, 80), (4, 120)]
    for number, row in enumerate(rows, 1):
        done = STAGE_NAMES[:number]
        assert row.alone == epsilon([e for e in events if e.stage == row.stage], DELTA)
        assert row.so_far == epsilon([e for e in events if e.stage in done], DELTA)
    assert rows[-1].so_far == epsilon(events, DELTA) < sum(row.alone for row in rows)
    before = rounds_of(plan, "pretrain", 5)
    later = cost_table(plan, DELTA, before)
    assert [row.alone for row in later] == [row.alone for row in rows]
    assert all(ours.so_far > theirs.so_far for ours, theirs in zip(later, rows, strict=True))


def test_rounds_cost_what_as_many_rounds_of_a_plan_cost() -> None:
    plan = dp_plan()
    events = planned_events(plan, "r", moments=False)
    for name in STAGE_NAMES:
        own = [event for event in events if event.stage == name]
        assert epsilon(rounds_of(plan, name, ROUNDS[name]), DELTA) == epsilon(own, DELTA)
    with pytest.raises(ConfigError, match="no privacy that could be counted"):
        rounds_of(dp_plan(without=("decoder",)), "decoder", 1)
