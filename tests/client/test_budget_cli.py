import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from braing3n.errors import BrainG3NError
from braing3n.plan import STAGE_NAMES, Plan, load_plan
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.ledger import open_ledger
from braing3n.privacy.ledger_entry import WITHOUT_DP, MechanismRecord, SpentRecord
from braing3n.privacy.planning import planned_events, rounds_of
from client.cli import app
from simulation.run import PLANS

DELTA = 1e-5


@pytest.fixture
def plan_file(tmp_path):
    """Write a plan with DP in its stages; changes are of the file's content."""

    def write(noise_multiplier=1.5, without=(), budget=8.0, **changes) -> Path:
        content = yaml.safe_load((PLANS / "demo.yaml").read_text()) | changes
        if budget is not None:
            content["budget"] = {"epsilon": budget}
        for name, stage in content["stages"].items():
            stage |= {"rounds": 2, "local_steps": 60}
            stage["optimizer"]["learning_rate"] = 0.01  # `4e-3` is a text in plain YAML
            if name not in without:
                stage["privacy"] = {"noise_multiplier": noise_multiplier, "sample_rate": 0.1,
                                    "clip_norm": 1.0, "release_noise_multiplier": 8.0}
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def site_file(tmp_path):
    """Write a site's settings and a table of its subjects; the arguments are its budget."""

    def write(budget=None, subjects=130, **settings) -> Path:  # 100 or so of them are trained on
        (tmp_path / "scans.csv").write_text("subject,path\n" + "".join(
            f"p{number},{number}.nii.gz\n" for number in range(subjects)))
        for number in range(subjects):
            (tmp_path / f"{number}.nii.gz").touch()
        content = {"name": "a", "state_dir": "state", **settings, "data": {
            "table": "scans.csv", "draw": "alone", "held_out": 0.2}}
        if budget is not None:
            content["budget"] = budget
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def run(*arguments):
    """Run `braing3n site budget` and return its exit code, stdout and the error that it ended with."""
    ended = CliRunner().invoke(app, ["budget", *map(str, arguments)])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit | BrainG3NError):
        raise ended.exception
    error = ended.exception if isinstance(ended.exception, BrainG3NError) else None
    return (error.exit_code if error else ended.exit_code), ended.stdout, error


def answer(*arguments):
    code, out, error = run(*arguments, "--json")
    assert error is None
    return code, json.loads(out)


def whole(plan: Plan):
    return planned_events(plan, "r")


def test_a_plan_that_fits_ends_with_0_and_says_what_it_costs(plan_file) -> None:
    path = plan_file(noise_multiplier=3.0)
    code, found = answer("plan", path)
    assert code == 0
    assert found["fits"]
    assert found["reasons"] == []
    cost = epsilon(whole(load_plan(path)), DELTA)
    assert found["as_written"]["pld"] == cost < 8
    assert found["as_written"]["rdp"] > cost
    assert found["as_written"]["prv"] >= cost
    assert [(row["stage"], row["what"], row["steps"]) for row in found["rows"]] == [
        ("pretrain", "update", 120), ("decoder", "update", 120), ("decoder", "moments", 1),
        ("diffusion", "update", 120)]
    assert found["rows"][-1]["so_far"] == cost
    assert found["left_after_plan"] == {"epsilon": 8.0 - cost, "of": 8.0, "delta": DELTA}
    assert "one patient" in found["meaning"]


def test_a_plan_over_its_own_budget_ends_with_1_and_the_lines_that_mend_it(plan_file) -> None:
    path = plan_file(budget=5.0)
    code, out, _ = run("plan", path)
    assert code == 1
    assert "it does not fit" in out
    assert "where 5 is allowed at delta 1e-05" in out
    assert "decided by the plan's own budget, an epsilon of 5 at delta 1e-05" in out
    assert "with 1/3 of that epsilon for each stage it would have to be: pretrain " in out
    assert "left" not in out
    over = float(out.split("over by ")[1].split(":")[0])
    cost = epsilon(whole(load_plan(path)), DELTA)
    assert cost - 5 <= over < cost - 5 + 1e-3
    # The lines are YAML, and the plan fits with them.
    lines = yaml.safe_load(out[out.index("stages:\n"):])["stages"]
    noise = {stage["privacy"]["noise_multiplier"] for stage in lines.values()}
    assert len(noise) == 1
    code, found = answer("plan", plan_file(noise_multiplier=noise.pop(), budget=5.0))
    assert code == 0
    assert 4.95 < found["as_written"]["pld"] <= 5.0


def test_one_stage_has_nothing_to_split(plan_file) -> None:
    code, out, _ = run("plan", plan_file(last_stage="pretrain"))
    assert code == 0
    assert "the least noise_multiplier" in out
    assert "that epsilon for each stage" not in out


def test_the_noise_is_for_the_epsilon_and_delta_that_are_asked_for(plan_file) -> None:
    path = plan_file(noise_multiplier=3.0)
    code, found = answer("plan", path, "--epsilon", 2, "--delta", 1e-6)
    assert code == 1
    assert (found["epsilon"], found["delta"]) == (2.0, 1e-6)
    assert found["noise_multiplier"] > 3.0
    assert 1.98 < found["planned"]["pld"] <= 2.0
    assert found["planned"]["delta"] == 1e-6
    assert all(noise > found["noise_multiplier"] for noise in found["split_noise_multipliers"].values())
    assert found["decided_by"] == "what was asked for, an epsilon of 2 at delta 1e-06"
    assert [reason.split(":")[0] for reason in found["reasons"]] == ["more than what was asked for"]


def test_an_epsilon_that_no_noise_reaches_is_told(plan_file) -> None:
    code, out, _ = run("plan", plan_file(), "--epsilon", 0.05)
    assert code == 1
    assert "no noise is enough" in out
    code, found = answer("plan", plan_file(), "--epsilon", 0.05)
    assert found["noise_multiplier"] is None
    assert "without any training" in found["cannot"]


def test_a_site_says_what_it_would_refuse(plan_file, site_file) -> None:
    site = site_file({"epsilon": 4.0, "min_noise_multiplier": 1.7, "max_sample_rate": 0.08,
                      "stage_epsilon": {"pretrain": 1.0}})
    code, found = answer("plan", plan_file(), "--site", site)
    assert code == 1
    assert found["epsilon"] == 4.0
    said = "\n".join(found["reasons"])
    assert "too little noise: 1.5 instead of noise_multiplier of at least 1.7" in said
    assert "more than the site's whole budget: an epsilon of" in said
    assert "more than the site's cap for pretrain: an epsilon of" in said
    assert len(found["reasons"]) == 3
    assert found["noise_multiplier"] > 1.7
    assert found["decided_by"] == "the site's cap for pretrain, an epsilon of 1 at delta 1e-05"
    assert found["still_refused"] == ["the plan draws too many subjects a step: 0.1 instead of "
                                      "sample_rate of at most 0.08"]
    code, found = answer("plan", plan_file(noise_multiplier=20.0), "--site", site)
    assert code == 1
    assert "too many subjects a step" in "\n".join(found["reasons"])
    assert not (site.parent / "state").exists()


def test_a_site_with_room_takes_a_plan(plan_file, site_file) -> None:
    site = site_file({"epsilon": 9.0, "delta": 1e-6})
    code, found = answer("plan", plan_file(noise_multiplier=3.0), "--site", site)
    assert code == 0
    assert (found["epsilon"], found["delta"]) == (9.0, 1e-6)


def test_a_site_pays_for_its_own_stages_and_what_it_gives_only(plan_file, site_file) -> None:
    path = plan_file(noise_multiplier=3.0)
    _, every = answer("plan", path, "--site", site_file({"epsilon": 9.0}))
    _, withheld = answer("plan", path, "--site", site_file(
        {"epsilon": 9.0}, release={"moments": "withheld"}))
    _, some = answer("plan", path, "--site", site_file(
        {"epsilon": 9.0, "stages": ["pretrain", "diffusion"]}))
    assert some["as_written"]["pld"] < withheld["as_written"]["pld"] < every["as_written"]["pld"]
    assert [row["stage"] for row in some["rows"]] == ["pretrain", "diffusion"]


def test_what_the_ledger_says_was_spent_before_counts(plan_file, site_file) -> None:
    path, site = plan_file(noise_multiplier=2.0), site_file({"epsilon": 8.0})
    code, fresh = answer("plan", path, "--site", site)
    assert code == 0
    state = site.parent / "state"
    state.mkdir()
    record = MechanismRecord(name="poisson_gaussian", sample_rate=0.1, noise_multiplier=1.0, steps=300,
                             clip_norm=1.0, views=4, engine="loop", num_subjects=100)
    with open_ledger(state, clock=lambda: datetime(2026, 11, 23, tzinfo=UTC)) as ledger:
        ledger.reserve(run="old", stage="pretrain", round_index=0, cohort="patients", what="update",
                       mechanism=record, spent=SpentRecord(pld=1.0, rdp=1.0, delta=DELTA),
                       plan_digest="d" * 64)
        before = ledger.events("patients")
    code, later = answer("plan", path, "--site", site)
    assert code == 1
    assert later["num_spent_before"] == 1
    assert later["as_written"]["pld"] == epsilon([*before, *whole(load_plan(path))], DELTA)
    assert later["as_written"]["pld"] > 8 > fresh["as_written"]["pld"]
    assert later["noise_multiplier"] is None  # nothing is left for the plan
    _, rounds = answer("cost", path, "--rounds", 2, "--stage", "decoder", "--site", site)
    assert rounds["stages"][0]["with_before"] > rounds["stages"][0]["alone"]


@pytest.mark.parametrize("named", ["pretrain", "diffusion"])
def test_no_epsilon_is_printed_beside_a_stage_without_dp(plan_file, named) -> None:
    path = plan_file(without=(named,), noise_multiplier=3.0)
    for arguments in (("plan", path), ("cost", path, "--rounds", 2)):
        code, found = answer(*arguments)
        assert code == 1
        assert found.get("rows", []) == found.get("stages", []) == []
        assert found.get("as_written") is None
        assert f"no epsilon holds: {named} would be trained on the same patients" in found["reasons"][0]


def test_no_epsilon_is_printed_for_patients_who_were_trained_on_without_dp(
        plan_file, site_file) -> None:
    path = plan_file(noise_multiplier=3.0)
    code, found = answer("plan", path, "--site", site_file(
        {"epsilon": 9.0, "without_dp": ["decoder"]}))
    assert (code, found["rows"]) == (1, [])
    assert "decoder would be trained" in found["reasons"][0]
    site = site_file({"epsilon": 9.0})
    (site.parent / "state").mkdir()
    with open_ledger(site.parent / "state", clock=lambda: datetime(2026, 11, 23, tzinfo=UTC)) as ledger:
        ledger.note(WITHOUT_DP, run="old", stage="decoder", round_index=0, cohort="patients")
    code, found = answer("plan", path, "--site", site)
    assert (code, found["rows"]) == (1, [])
    assert "the ledger says" in found["reasons"][0]


def test_rounds_cost_what_the_accountant_says(plan_file) -> None:
    path = plan_file(noise_multiplier=2.0)
    plan = load_plan(path)
    code, found = answer("cost", path, "--rounds", 5)
    assert code == 1
    *rows, every = found["stages"]
    assert [row["stage"] for row in rows] == list(STAGE_NAMES)
    together = [event for name in STAGE_NAMES for event in rounds_of(plan, name, 5)]
    assert every == {"stage": "all stages", "steps": 900, "alone": epsilon(together, DELTA),
                     "with_before": epsilon(together, DELTA),
                     "with_whole_plan": epsilon([*whole(plan), *together], DELTA)}
    for row in rows:
        events = rounds_of(plan, row["stage"], 5)
        assert row["steps"] == 300
        assert row["alone"] == row["with_before"] == epsilon(events, DELTA)
        assert row["with_whole_plan"] == epsilon([*whole(plan), *events], DELTA)


def test_rounds_that_do_not_fit_end_with_1_and_say_so(plan_file, site_file) -> None:
    path = plan_file()
    assert run("cost", path, "--rounds", 1, "--stage", "pretrain")[0] == 0
    code, out, _ = run("cost", path, "--rounds", 50, "--stage", "pretrain")
    assert code == 1
    assert "50 rounds of pretrain: more than the plan's own budget: an epsilon of" in out
    assert "on top of the whole plan" in out
    assert "decoder" not in out
    assert run("cost", path, "--rounds", 5, "--stage", "pretrain",
               "--site", site_file({"epsilon": 3.0}))[0] == 1


def test_rounds_that_fit_but_not_on_top_of_the_plan_end_with_1_and_say_so(plan_file) -> None:
    path = plan_file()
    plan = load_plan(path)
    alone = rounds_of(plan, "pretrain", 5)
    assert epsilon(alone, DELTA) < 8 < epsilon([*whole(plan), *alone], DELTA)
    code, out, _ = run("cost", path, "--rounds", 5, "--stage", "pretrain")
    assert code == 1
    assert "it does not fit\n  5 rounds of pretrain, on top of the whole plan: more than the" in out


def test_rounds_that_fit_one_stage_by_one_but_not_together_end_with_1(plan_file) -> None:
    path = plan_file(noise_multiplier=3.0, budget=4.2)
    code, found = answer("cost", path, "--rounds", 5)
    assert code == 1
    assert all(row["with_before"] < 4.2 for row in found["stages"][:3])
    assert found["reasons"][-1].startswith("5 rounds of all stages: more than the plan's own budget")


def test_more_rounds_than_anybody_runs_are_misuse_and_as_many_as_may_be_are_told_at_once(
        plan_file) -> None:
    path = plan_file()
    assert run("cost", path, "--rounds", 100_001)[0] == 2
    code, out, _ = run("cost", path, "--rounds", 100_000)
    assert code == 1
    assert "beyond" in out


def test_what_is_shown_is_never_below_what_it_costs(plan_file) -> None:
    path = plan_file(noise_multiplier=3.0)
    cost = epsilon(whole(load_plan(path)), DELTA)
    shown = float(run("plan", path)[1].split("as written: PLD ")[1].split(",")[0])
    assert cost <= shown < cost + 1e-3


def test_more_than_accountants_can_tell_is_beyond_and_null(plan_file) -> None:
    path = plan_file(noise_multiplier=0.05)
    code, out, _ = run("plan", path)
    assert code == 1
    assert "as written: PLD beyond, RDP beyond, PRV -\nover by more than can be told:" in out
    code, found = answer("plan", path)
    assert code == 1
    assert found["as_written"]["pld"] is None
    assert found["noise_multiplier"] > 1


def test_bad_input_ends_with_2_and_a_word_on_what_to_do(plan_file, site_file, tmp_path) -> None:
    fine = plan_file()
    for arguments, what in (
            (("plan", tmp_path / "nowhere.yaml"), "cannot be read"),
            (("plan", PLANS / "demo.yaml"), "has no differential privacy"),
            (("plan", fine, "--site", site_file()), "has no budget"),
            (("plan", fine, "--delta", 0.02), "--delta 0.02 cannot be used"),
            (("plan", fine, "--delta", 0), "--delta 0 cannot be used"),
            (("cost", fine, "--rounds", 2, "--delta", 1e-11), "--delta 1e-11 cannot be used"),
            (("cost", fine, "--rounds", 2, "--stage", "dit"), "no such stage")):
        code, out, error = run(*arguments)
        assert (code, out) == (2, "")
        assert error is not None
        assert what in error.what
        assert "mend these keys" not in error.fix
    assert run("plan", fine, "--epsilon", 0)[0] == 2
    assert run("cost", fine, "--rounds", 0)[0] == 2
    assert run("cost", fine)[0] == 2


def test_what_cannot_be_told_ends_with_1(plan_file, site_file) -> None:
    path, site = plan_file(noise_multiplier=3.0), site_file({"epsilon": 9.0})
    assert run("plan", path, "--site", site)[0] == 0
    (site.parent / "scans.csv").unlink()
    code, out, _ = run("plan", path, "--site", site)
    assert code == 1
    assert "whether it fits cannot be told" in out
    assert answer("plan", path, "--site", site)[1]["fits"] is None


def test_the_installed_program_plans(plan_file) -> None:
    program = Path(sys.executable).parent / "braing3n"
    ended = subprocess.run([program, "site", "budget", "plan", plan_file(), "--epsilon", "6", "--json"],
                           capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert 5.95 < json.loads(ended.stdout)["planned"]["pld"] <= 6
    bad = subprocess.run([program, "site", "budget", "plan", "nowhere.yaml"],
                         capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert bad.stderr.startswith("error: nowhere.yaml cannot be read")


def test_help_does_not_wait_for_accountants() -> None:
    code = ("import sys; from client.cli import app; from typer.testing import CliRunner; "
            "assert CliRunner().invoke(app, ['budget', 'plan', '--help']).exit_code == 0; "
            "heavy = {'torch', 'dp_accounting', 'opacus', 'scipy', 'numpy'}; "
            "print(sorted(heavy & sys.modules.keys()))")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
