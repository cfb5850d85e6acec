from pathlib import Path

from braing3n.config import load_site_config
from braing3n.plan import load_plan
from simulation.budgets import few_subjects, with_budget
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

PLAN = load_plan(PLANS / "demo-dp.yaml")


def test_simulated_sites_have_the_plans_budget_but_those_without(
    tmp_path: Path, phantom_cohort: Path
) -> None:
    sites = write_site_files(find_site_folders(phantom_cohort), tmp_path, PLAN, ["site-b"])
    first, second = (load_site_config(path) for path in sorted(sites.glob("*.yaml")))
    assert (first.budget.epsilon, first.budget.delta) == (PLAN.budget.epsilon, PLAN.budget.delta)
    assert (first.data.draw, first.probe_methods) == ("alone", ())
    assert second.budget is None
    assert second.probe_methods
    assert few_subjects(sites) == ["site-a"]  # and site-b has no budget that could be too small


def test_a_site_keeps_the_budget_that_it_has(tmp_path: Path, phantom_cohort: Path) -> None:
    sites = write_site_files(find_site_folders(phantom_cohort), tmp_path, PLAN)
    config = load_site_config(next(iter(sorted(sites.glob("*.yaml")))))
    own = config.model_copy(update={"budget": config.budget.model_copy(update={"epsilon": 1.0})})
    assert with_budget(own, PLAN) == own


def test_a_stage_that_the_plan_trains_without_dp_is_one_of_the_sites_too(
    tmp_path: Path, phantom_cohort: Path
) -> None:
    plan = load_plan(PLANS / "demo-dp.yaml", "stages.decoder.privacy=null")
    sites = write_site_files(find_site_folders(phantom_cohort), tmp_path, plan)
    assert load_site_config(sites / "site-a.yaml").budget.without_dp == ("decoder",)


def test_without_a_budget_in_the_plan_nothing_changes(tmp_path: Path, phantom_cohort: Path) -> None:
    sites = write_site_files(find_site_folders(phantom_cohort), tmp_path,
                             load_plan(PLANS / "demo.yaml"))
    assert load_site_config(sites / "site-a.yaml").budget is None
    assert few_subjects(sites) == []
