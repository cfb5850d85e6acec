from pathlib import Path

import pytest

from braing3n.plan import Plan, load_plan
from simulation.compare.arms import Arm, Asked, choose_arms
from simulation.run import PLANS

SITES = ("site-a", "site-b", "site-c")


@pytest.fixture
def path() -> Path:
    return PLANS / "compare.yaml"


@pytest.fixture
def plan(path: Path) -> Plan:
    return load_plan(path)


def named(arms: tuple[Arm, ...], name: str) -> Arm:
    return next(arm for arm in arms if arm.name == name)


def test_without_wishes_there_are_each_site_alone_the_federation_and_pooled(plan: Plan) -> None:
    arms = choose_arms(plan, SITES, Asked())
    assert [arm.name for arm in arms] == [
        "pooled", "federated", "local-site-a", "local-site-b", "local-site-c"]
    assert named(arms, "federated").sweep == ""
    assert named(arms, "local-site-b").sites == ("site-b",)
    assert named(arms, "pooled").sites == SITES


def test_pooled_steps_are_as_many_and_see_as_many_scans_as_all_sites_batches(
    plan: Plan, path: Path
) -> None:
    pooled = load_plan(path, named(choose_arms(plan, SITES, Asked()), "pooled").sweep)
    for name in plan.stage_names:
        ours, theirs = plan.stage(name), pooled.stage(name)
        assert (theirs.rounds, theirs.local_steps) == (ours.rounds, ours.local_steps)
        assert theirs.batch_size == 3 * ours.batch_size
        assert theirs.optimizer == ours.optimizer


def test_a_single_place_has_nothing_to_merge_and_measures_at_the_ends(plan: Plan, path: Path) -> None:
    for arm in choose_arms(plan, SITES, Asked(is_pooled_long=True)):
        if arm.kind not in ("local", "pooled"):
            continue
        alone = load_plan(path, arm.sweep)
        assert alone.min_sites == 1
        for name in plan.stage_names:
            assert alone.stage(name).server.name == "fedavg"
            assert alone.stage(name).server.step_size == 1
            assert alone.stage(name).measure_every == alone.stage(name).rounds


def test_long_pooled_training_takes_the_steps_of_all_sites(plan: Plan, path: Path) -> None:
    arms = choose_arms(plan, SITES, Asked(is_pooled_long=True))
    pooled = load_plan(path, named(arms, "pooled-long").sweep)
    for name in plan.stage_names:
        ours, theirs = plan.stage(name), pooled.stage(name)
        assert theirs.local_steps == 3 * (ours.local_steps or 0)
        assert theirs.batch_size == ours.batch_size


def test_long_pooled_training_in_epochs_needs_no_other_number(path: Path) -> None:
    sweep = " ".join(f"stages.{name}.local_steps=null stages.{name}.local_epochs=2"
                     for name in ("pretrain", "decoder"))
    plan = load_plan(path, sweep)
    arm = named(choose_arms(plan, SITES, Asked(is_pooled_long=True)), "pooled-long")
    assert load_plan(path, f"{sweep} {arm.sweep}").stages.pretrain.local_epochs == 2


def test_another_optimiser_has_its_own_defaults_not_the_plans(plan: Plan, path: Path) -> None:
    arm = named(choose_arms(plan, SITES, Asked(optimizers=("fedadam",))), "federated-fedadam")
    server = load_plan(path, arm.sweep).stages.pretrain.server
    assert (server.name, server.step_size, server.momentum) == ("fedadam", 0.01, 0.9)


def test_each_site_is_left_out_once_and_some_may_be_drawn(plan: Plan, path: Path) -> None:
    arms = choose_arms(plan, SITES, Asked(leave_one_out=True, drawn=(1, 2)))
    assert [arm.sites for arm in arms if arm.kind == "without"] == [
        ("site-b", "site-c"), ("site-a", "site-c"), ("site-a", "site-b")]
    drawn = load_plan(path, named(arms, "drawn-1").sweep)
    assert (drawn.sites_per_round, drawn.min_sites) == (1, 1)


def test_two_sites_may_be_compared_without_one_of_them(plan: Plan, path: Path) -> None:
    arms = choose_arms(plan, ("a", "b"), Asked(leave_one_out=True))
    assert load_plan(path, named(arms, "without-a").sweep).min_sites == 1
