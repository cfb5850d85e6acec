"""What is said beforehand of a plan's cost, and that a real site's ledger then says the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from braing3n.errors import BudgetError
from braing3n.plan import STAGE_NAMES, Plan
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.events import Event
from braing3n.privacy.planning import (
    charged_releases,
    plan_noise,
    planned_events,
    rounds_of,
    with_noise,
)
from braing3n.yaml_files import load_yaml, parse
from client.plan_costs import cost_table, split_noise
from simulation.run import PLANS

DELTA = 1e-5
EVERYTHING = ("moments", "metrics", "counts")


def dp_plan(release: float = 8.0) -> Plan:
    content = load_yaml(Path(PLANS / "demo.yaml")) | {"budget": {"epsilon": 8.0}}
    for number, stage in enumerate(content["stages"].values()):
        stage |= {"rounds": 3 - number, "local_steps": 50 - 10 * number, "measure_every": 2}
        stage["privacy"] = {"noise_multiplier": 1.5, "sample_rate": 0.1 + 0.05 * number,
                            "clip_norm": 1.0, "release_noise_multiplier": release}
    return parse(Plan, content, "the test's plan")


def test_a_row_stands_for_each_kind_of_release_and_the_rows_compose() -> None:
    plan = dp_plan()
    rows = cost_table(plan, DELTA, releases=EVERYTHING)
    events = planned_events(plan, "planned", EVERYTHING)
    assert [(row.stage, row.what, row.times, row.steps) for row in rows] == [
        ("pretrain", "update", 3, 150), ("pretrain", "metrics", 3, 3), ("pretrain", "counts", 1, 1),
        ("decoder", "update", 2, 80), ("decoder", "metrics", 2, 2), ("decoder", "moments", 1, 1),
        ("diffusion", "update", 1, 30), ("diffusion", "metrics", 2, 2)]
    for row in rows:
        is_update = row.what == "update"
        assert row.noise_multiplier == (1.5 if is_update else 8.0)
        assert row.sample_rate == (pytest.approx(0.1 + 0.05 * STAGE_NAMES.index(row.stage))
                                   if is_update else 1.0)
    updates = [event for event in events if event.mechanism == "poisson_gaussian"]
    for row in rows[::3]:
        assert row.alone == epsilon([event for event in updates if event.stage == row.stage], DELTA)
    so_far = [row.so_far for row in rows]
    assert so_far == sorted(so_far)
    assert so_far[0] == rows[0].alone
    assert so_far[-1] == epsilon(events, DELTA) < sum(row.alone for row in rows)


def test_what_was_spent_before_counts_in_so_far_and_not_alone() -> None:
    plan = dp_plan()
    rows, later = cost_table(plan, DELTA), cost_table(plan, DELTA, rounds_of(plan, "pretrain", 5))
    assert [row.alone for row in later] == [row.alone for row in rows]
    assert all(ours.so_far > theirs.so_far for ours, theirs in zip(later, rows, strict=True))


def test_stages_without_the_site_have_no_rows() -> None:
    assert {row.stage for row in cost_table(dp_plan(), DELTA, stages=("pretrain", "diffusion"))} == {
        "pretrain", "diffusion"}


def test_splitting_the_budget_needs_more_noise_than_planning_together() -> None:
    plan = dp_plan()
    together, split = plan_noise(plan, 8.0, DELTA), split_noise(plan, 8.0, DELTA)
    assert set(split) == set(STAGE_NAMES)
    for name, noise_multiplier in split.items():
        assert noise_multiplier is not None
        assert noise_multiplier > 1.1 * together
        events = [event for event in planned_events(plan, "r") if event.stage == name]
        assert epsilon(with_noise(events, noise_multiplier), DELTA / 3) <= 8 / 3


def test_a_stage_whose_share_does_not_pay_its_release_has_no_noise() -> None:
    split = split_noise(dp_plan(release=1.5), 6.0, DELTA)
    assert split["decoder"] is None
    assert split["pretrain"] is not None


# --- the real thing --------------------------------------------------------------------------------

NOISED = {"metrics": "noised", "counts": "noised"}
SWEEP = "last_stage=decoder stages.decoder.rounds=2 stages.pretrain.measure_every=2"


def run_all(site: Any) -> None:
    """Ask a site for all that a run asks for, in the order of `server.app`."""
    site.freeze()
    plan = site.plan()
    for stage in plan.stage_names:
        for number in range(plan.stage(stage).rounds):
            site.train(stage, number)
        site.evaluate(stage)
    if plan.gathers_moments:
        site.moments()


def planned_of(site: Any) -> list[Event]:
    return planned_events(site.plan(), "r1", charged_releases(site.site.config.release))


@pytest.mark.parametrize("release", [NOISED, {"metrics": "noised", "moments": "withheld"}, {}])
def test_a_ledger_holds_after_a_run_exactly_what_was_planned(
    clinic: Callable[..., Any], release: dict[str, str]
) -> None:
    site = clinic(sweep=SWEEP, release=release)
    if release.get("moments") == "withheld":
        site.moments = lambda: None  # it would be refused
    run_all(site)
    assert site.events() == planned_of(site)


def test_a_budget_of_just_what_was_planned_lasts_to_the_end_of_the_run(
    clinic: Callable[..., Any]
) -> None:
    exactly = epsilon(planned_of(clinic(name="probe", sweep=SWEEP, release=NOISED)), DELTA)
    site = clinic(sweep=SWEEP, release=NOISED, epsilon=exactly)
    run_all(site)
    assert epsilon(site.events(), DELTA) == exactly


@pytest.mark.parametrize("what", ["metrics", "counts", "moments"])
def test_a_run_that_one_kind_of_release_would_push_over_the_budget_is_not_begun(
    clinic: Callable[..., Any], what: str
) -> None:
    """Without that kind, the same budget is enough."""
    fewer = {**NOISED, what: "withheld"}
    probe = clinic(name="probe", sweep=SWEEP, release=fewer)
    limit = epsilon(planned_of(probe), DELTA)
    with pytest.raises(BudgetError, match="the run does not fit"):
        clinic(sweep=SWEEP, release=NOISED, epsilon=limit).train()
    clinic(name="fewer", sweep=SWEEP, release=fewer, epsilon=limit).train()
