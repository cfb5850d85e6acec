"""A budget that comes after training without one: no ε may be claimed for these patients."""

import json
import shutil
from pathlib import Path

from braing3n.plan import load_plan
from simulation.grid import run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

SWEEP = ("budget.epsilon=1000 budget.num_subjects=5 last_stage=pretrain min_sites=1 "
         "stages.pretrain.start=fresh stages.pretrain.rounds=1 stages.pretrain.local_steps=1")


def test_a_budget_that_comes_after_training_without_dp_gives_no_epsilon(
    tmp_path: Path, phantom_cohort: Path
) -> None:
    plan, out = load_plan(PLANS / "demo-dp.yaml", SWEEP), tmp_path / "first"
    sites = write_site_files(find_site_folders(phantom_cohort), out, plan, ["site-a", "site-b"])
    run_locally(PLANS / "demo-dp.yaml", sites, out, sweep=SWEEP)
    before = json.loads((out / "run.json").read_text())
    assert "no differential privacy" in before["privacy"]
    # The hospital's IT adds a budget; the state folder stays, and with it sides that depend on others.
    write_site_files(find_site_folders(phantom_cohort), out, plan, ["site-b"])
    run_locally(PLANS / "demo-dp.yaml", sites, tmp_path / "refused", sweep=SWEEP)
    asked = json.loads((tmp_path / "refused" / "run.json").read_text())["stages"][0]["participation"][0]
    assert asked["refused"] == {"site-a": "cohort"}
    assert "on other sides than their own hashes" in (sites / "site-a" / "site.log").read_text()
    # As that says: they are drawn anew.
    (sites / "site-a" / "split.json").unlink()
    shutil.rmtree(sites / "site-a" / "cache")
    run_locally(PLANS / "demo-dp.yaml", sites, tmp_path / "second", sweep=SWEEP)
    told = json.loads((tmp_path / "second" / "run.json").read_text())["privacy_by_site"]["site-a"]
    report = told["stages"]["pretrain"]
    assert report["void"] == "without_dp"
    assert (report["epsilon_stage"], report["epsilon_run"], report["epsilon_total"]) == (None,) * 3
    assert "without differential privacy" in told["statement"]
    assert report["steps"] == 1  # it was trained with DP all the same
