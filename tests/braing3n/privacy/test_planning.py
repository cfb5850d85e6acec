from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.budget import BudgetConfig, ReleaseConfig
from braing3n.errors import BudgetError, ConfigError
from braing3n.plan import STAGE_NAMES, Plan
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.planning import (
    Limit,
    charged_releases,
    least_noise,
    limits_of,
    plan_noise,
    planned_events,
    planned_releases,
    rounds_of,
    with_noise,
)
from braing3n.privacy.policy import Order, check_budget
from braing3n.yaml_files import load_yaml, parse
from simulation.run import PLANS

DELTA = 1e-5
ROUNDS = {"pretrain": 3, "decoder": 2, "diffusion": 4}
STEPS = {"pretrain": 50, "decoder": 40, "diffusion": 30}
EVERYTHING = ("moments", "metrics", "counts")


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
    events = planned_events(dp_plan(), "r")
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
    assert all(event.mechanism != "gaussian" for event in planned_events(dp_plan(), "r", ()))


def test_moments_are_asked_for_whenever_the_plan_gathers_them() -> None:
    warm = load_yaml(Path(PLANS / "demo.yaml"))["stages"]
    warm["diffusion"]["start"] = "phantom"
    assert all(event.mechanism != "gaussian" for event in planned_events(dp_plan(stages=warm), "r"))
    for last, count in (("pretrain", 0), ("decoder", 1), ("diffusion", 1)):
        events = planned_events(dp_plan(last_stage=last), "r")
        assert sum(event.mechanism == "gaussian" for event in events) == count


@pytest.mark.parametrize(("start", "rounds", "moments"), [
    (("pretrain", 0), 9, 1), (("pretrain", 2), 7, 1), (("pretrain", 3), 6, 1), (("decoder", 1), 5, 1),
    (("decoder", 2), 4, 1), (("decoder", 3), 4, 0), (("diffusion", 0), 4, 0), (("diffusion", 3), 1, 0),
    (("diffusion", 4), 0, 0)])
def test_only_what_is_still_to_come_is_planned(start, rounds, moments) -> None:
    events = planned_events(dp_plan(), "r", start=start)
    assert sum(event.mechanism == "poisson_gaussian" for event in events) == rounds
    assert sum(event.mechanism == "gaussian" for event in events) == moments
    assert all((STAGE_NAMES.index(event.stage), event.round_index) >= (
        STAGE_NAMES.index(start[0]), start[1]) for event in events)


def test_what_was_done_and_what_is_to_come_is_the_whole_plan() -> None:
    plan = dp_plan()
    whole = planned_events(plan, "r")
    for number, event in enumerate(whole):
        start = (event.stage, event.round_index)
        assert planned_events(plan, "r", start=start) == whole[number:]


def test_stages_without_privacy_or_without_the_site_cost_it_nothing() -> None:
    events = planned_events(dp_plan(without=("pretrain",)), "r")
    assert {event.stage for event in events} == {"decoder", "diffusion"}
    events = planned_events(dp_plan(), "r", stages=("pretrain", "diffusion"))
    assert {event.stage for event in events} == {"pretrain", "diffusion"}


@settings(max_examples=4, deadline=None)
@given(st.floats(2.5, 8.0), st.booleans())
def test_the_noise_that_is_found_fits_and_one_percent_less_does_not(target, releases_all) -> None:
    plan = dp_plan()
    releases = EVERYTHING if releases_all else ()
    found = plan_noise(plan, target, DELTA, releases=releases)
    events = planned_events(plan, "r", releases)
    assert epsilon(with_noise(events, found), DELTA) <= target
    assert epsilon(with_noise(events, 0.99 * found), DELTA) > target
    assert found == float(f"{found:.4g}")


@pytest.mark.parametrize(("target", "least", "most"), [(0.1, 10, 40), (200.0, 0.1, 0.4)])
def test_the_least_noise_is_found_for_small_and_large_targets(target, least, most) -> None:
    plan = dp_plan(last_stage="pretrain")
    found = plan_noise(plan, target, DELTA)
    events = planned_events(plan, "r")
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
    assert epsilon(planned_events(rewritten, "r"), DELTA) <= 8.0


def test_what_was_spent_before_leaves_less_for_the_plan() -> None:
    plan = dp_plan()
    before = planned_events(plan, "earlier")[:3]
    found = plan_noise(plan, 8.0, DELTA, before)
    assert found > plan_noise(plan, 8.0, DELTA)
    events = [*before, *with_noise(planned_events(plan, "r"), found)]
    assert 7.9 < epsilon(events, DELTA) <= 8.0


def test_no_noise_makes_up_for_what_was_spent_before() -> None:
    plan = dp_plan()
    before = with_noise(planned_events(plan, "earlier"), 0.7)
    with pytest.raises(BudgetError, match="no noise is enough"):
        plan_noise(plan, 8.0, DELTA, before)


def test_no_noise_makes_up_for_moments_that_cost_too_much() -> None:
    plan = dp_plan(release=0.5)
    with pytest.raises(BudgetError) as error:
        plan_noise(plan, 1.0, DELTA)
    assert "without any training" in error.value.found
    assert plan_noise(plan, 1.0, DELTA, releases=()) > 1


def test_a_plan_without_privacy_cannot_be_planned() -> None:
    with pytest.raises(ConfigError, match="nothing to plan"):
        plan_noise(dp_plan(without=STAGE_NAMES), 8.0, DELTA)


def test_rounds_cost_what_as_many_rounds_of_a_plan_cost() -> None:
    plan = dp_plan()
    events = planned_events(plan, "r", ())
    for name in STAGE_NAMES:
        own = [event for event in events if event.stage == name]
        assert epsilon(rounds_of(plan, name, ROUNDS[name]), DELTA) == epsilon(own, DELTA)
    with pytest.raises(ConfigError, match="no privacy that could be counted"):
        rounds_of(dp_plan(without=("decoder",)), "decoder", 1)


def test_more_rounds_cost_their_metrics_as_often_as_they_are_measured() -> None:
    content = dp_plan().model_dump(mode="json")
    content["stages"]["pretrain"]["measure_every"] = 3
    plan = parse(Plan, content, "the test's plan")
    for num_rounds, measured in ((1, 1), (3, 1), (4, 2), (7, 3)):
        events = rounds_of(plan, "pretrain", num_rounds, EVERYTHING)
        assert sum(event.mechanism == "gaussian" for event in events) == measured
        assert sum(event.mechanism == "poisson_gaussian" for event in events) == num_rounds


def test_metrics_are_planned_for_measured_rounds_and_results_and_counts_once() -> None:
    content = dp_plan().model_dump(mode="json")
    content["stages"]["pretrain"]["measure_every"] = 2
    content["stages"]["diffusion"]["measure_every"] = 9
    plan = parse(Plan, content, "the test's plan")
    planned = planned_releases(plan, "r", EVERYTHING)
    places = {what: [(event.stage, event.round_index) for other, event in planned if other == what]
              for what in EVERYTHING}
    assert places["metrics"] == [
        ("pretrain", 0), ("pretrain", 2), ("pretrain", 3), ("decoder", 0), ("decoder", 1),
        ("decoder", 2), ("diffusion", 0), ("diffusion", 4)]
    assert places["counts"] == [("pretrain", 0)]
    assert places["moments"] == [("decoder", 2)]
    assert {(event.mechanism, event.sample_rate, event.steps, event.noise_multiplier)
            for what, event in planned if what != "update"} == {("gaussian", 1.0, 1, 8.0)}


def test_counts_are_planned_for_the_first_round_that_is_trained_with_dp_here() -> None:
    for options, place in (({"stages": ("decoder",)}, ("decoder", 0)),
                           ({"start": ("pretrain", 3)}, ("decoder", 0)),
                           ({"start": ("decoder", 1)}, ("decoder", 1))):
        planned = planned_releases(dp_plan(), "r", ("counts",), **options)
        assert [(event.stage, event.round_index) for what, event in planned
                if what == "counts"] == [place]


def test_a_site_pays_for_what_it_gives_with_noise() -> None:
    assert charged_releases(ReleaseConfig()) == {"moments"}
    assert charged_releases(ReleaseConfig(moments="withheld", losses="noised")) == set()
    assert charged_releases(ReleaseConfig(metrics="noised", counts="noised")) == set(EVERYTHING)


SITE = BudgetConfig(epsilon=8.0, delta=1e-6, stage_epsilon={"pretrain": 5.0, "decoder": 2.5})


@pytest.mark.parametrize(("site", "plans", "decides"), [
    (SITE, 20.0, "the site's cap for decoder"),
    (SITE.model_copy(update={"stage_epsilon": {}}), 20.0, "the site's whole budget"),
    (SITE, 3.0, "the plan's own budget"), (None, 8.0, "the plan's own budget")])
def test_the_least_noise_keeps_every_limit_and_the_one_that_decides_is_named(
        site, plans, decides) -> None:
    plan = dp_plan(budget={"epsilon": plans})
    events, limits = planned_events(plan, "planned", EVERYTHING), limits_of(plan, site, ())
    found, limit = least_noise(events, limits)
    assert limit is not None
    assert limit.name == decides
    assert all(one.cost(with_noise(events, found)) <= one.epsilon for one in limits)
    assert limit.cost(with_noise(events, 0.99 * found)) > limit.epsilon


def test_a_floor_of_noise_decides_where_every_limit_would_allow_less() -> None:
    plan = dp_plan(budget={"epsilon": 8.0})
    assert least_noise(planned_events(plan, "r"), limits_of(plan, None, ()), 30.0) == (30.0, None)


def test_a_cap_that_no_noise_keeps_is_named() -> None:
    events = planned_events(dp_plan(release=1.0), "r", EVERYTHING)
    with pytest.raises(BudgetError, match="no noise is enough for the cap"):
        least_noise(events, [Limit("the cap", 1.0, DELTA, stage="decoder")])


@settings(max_examples=25, deadline=None)
@given(st.floats(2.0, 12.0), st.floats(1.0, 12.0), st.floats(2.0, 12.0), st.booleans(),
       st.sampled_from(STAGE_NAMES))
def test_limits_say_what_the_sites_own_rules_say(whole, cap, plans, has_past, stage) -> None:
    plan = dp_plan(budget={"epsilon": plans})
    site = BudgetConfig(epsilon=whole, delta=DELTA, stage_epsilon={stage: min(cap, whole)})
    before = rounds_of(plan, "decoder", 2) if has_past else []
    before = [event.model_copy(update={"run": "earlier"}) for event in before]
    events = planned_events(plan, "planned", EVERYTHING)
    holds = all(limit.cost(events) <= limit.epsilon for limit in limits_of(plan, site, before))
    try:
        check_budget(events[:1], events[1:], before, Order("planned", plan, "pretrain", 0), site)
    except BudgetError:
        assert not holds
    else:
        assert holds
