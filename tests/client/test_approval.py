"""A site works on plans that its IT has approved, or on all within its limits, and on no other."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from braing3n.budget import PlanRules
from braing3n.config import DataConfig, SiteConfig
from braing3n.errors import OutputError, PlanError
from braing3n.plan import load_plan
from client.approval import check_plan, decide, decisions, is_approved, waiting
from client.cli import app
from client.site import Site
from simulation.run import PLANS

DEMO = PLANS / "demo.yaml"
PLAN = load_plan(DEMO)


def site(folder: Path, **rules: Any) -> Site:
    (folder / "bids").mkdir(exist_ok=True)
    return Site(SiteConfig(name="site-a", data=DataConfig(folder=folder / "bids"),
                           state_dir=folder / "state", plans=PlanRules(**rules)))


def test_a_plan_that_nobody_approved_is_refused_and_kept_to_be_looked_at(tmp_path: Path) -> None:
    careful = site(tmp_path, approve="each")
    with pytest.raises(PlanError, match="nobody at this site has approved") as refused:
        check_plan(careful, PLAN)
    assert PLAN.digest[:12] in refused.value.fix
    assert [plan.digest for plan in waiting(careful.config.state_dir)] == [PLAN.digest]
    decide(careful.config.state_dir, PLAN, approves=True)
    check_plan(careful, PLAN)
    assert waiting(careful.config.state_dir) == []


@pytest.mark.parametrize("change", ["seed=1", "stages.pretrain.rounds=7", "name=other",
                                    "stages.diffusion.guidance=2.5"])
def test_a_changed_plan_needs_a_new_approval(tmp_path: Path, change: str) -> None:
    careful = site(tmp_path, approve="each")
    decide(careful.config.state_dir, PLAN, approves=True)
    with pytest.raises(PlanError):
        check_plan(careful, load_plan(DEMO, change))


def test_an_approval_can_be_withdrawn_and_given_again(tmp_path: Path) -> None:
    for approves in (True, False, True, False):
        decide(tmp_path, PLAN, approves=approves)
        assert is_approved(tmp_path, PLAN.digest) == approves
    assert len(decisions(tmp_path)) == 4


def test_half_a_decision_is_none_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    decide(tmp_path, PLAN, approves=True)
    path = tmp_path / "approved.jsonl"
    path.write_bytes(path.read_bytes() + b'{"digest": "' + PLAN.digest[:9].encode())
    assert is_approved(tmp_path, PLAN.digest)
    decide(tmp_path, PLAN, approves=False)
    assert not is_approved(tmp_path, PLAN.digest)
    path.write_text("no decision\n")
    with pytest.raises(OutputError, match="is damaged"):
        is_approved(tmp_path, PLAN.digest)


@pytest.mark.parametrize(("rules", "key"), [
    ({"presets": ("small",)}, "presets"), ({"max_rounds": 5}, "max_rounds"),
    ({"max_local_steps": 2}, "max_local_steps"), ({"max_batch_size": 1}, "max_batch_size")])
@pytest.mark.parametrize("approve", ["auto", "each"])
def test_a_plan_beyond_the_limits_is_refused_even_if_approved(
    tmp_path: Path, rules: dict[str, Any], key: str, approve: str
) -> None:
    limited = site(tmp_path, approve=approve, **rules)
    decide(limited.config.state_dir, PLAN, approves=True)
    with pytest.raises(PlanError, match="beyond this site's limits") as refused:
        check_plan(limited, PLAN)
    assert key in refused.value.expected


@pytest.mark.parametrize(("change", "key"), [
    ("stages.decoder.batch_size=1000000000", "max_batch_size"),
    ("stages.pretrain.local_steps=null stages.pretrain.local_epochs=1000000", "max_local_epochs"),
    ("stages.pretrain.local_steps=1000000", "max_local_steps"),
    ("stages.diffusion.rounds=1000000", "max_rounds")])
def test_a_site_that_approves_by_itself_takes_no_plan_without_end(
    tmp_path: Path, change: str, key: str
) -> None:
    with pytest.raises(PlanError) as refused:
        check_plan(site(tmp_path, approve="auto"), load_plan(DEMO, change))
    assert key in refused.value.expected


def test_plan_after_plan_does_not_fill_the_disk(tmp_path: Path) -> None:
    careful = site(tmp_path, approve="each")
    for seed in range(30):
        with pytest.raises(PlanError):
            check_plan(careful, load_plan(DEMO, f"seed={seed}"))
    assert len(waiting(careful.config.state_dir)) == 20


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "bids").mkdir()
    path = tmp_path / "site.yaml"
    path.write_text("name: site-a\ndata: {folder: bids}\nstate_dir: state\nplans: {approve: each}\n")
    return path


def test_the_command_shows_asks_and_decides(settings: Path) -> None:
    def run(*arguments: str, answer: str = "") -> Any:
        return CliRunner().invoke(app, ["approve", str(settings), *arguments], input=answer)

    assert "no plan waits" in run().stdout
    refused = run(str(DEMO), answer="n\n")
    assert refused.exit_code == 1
    assert "pretrain: " in refused.stdout
    assert "no differential privacy" in refused.stdout
    state = settings.parent / "state"
    assert not is_approved(state, PLAN.digest)
    approved = run(str(DEMO), answer="y\n")
    assert (approved.exit_code, approved.stdout.splitlines()[-1]) == (0, f"approved: {PLAN.digest}")
    assert is_approved(state, PLAN.digest)
    assert run(str(DEMO), "--withdraw", "--yes").exit_code == 0
    assert not is_approved(state, PLAN.digest)


def test_the_command_takes_a_plan_that_waits_by_its_digest(settings: Path) -> None:
    careful = site(settings.parent, approve="each")
    with pytest.raises(PlanError):
        check_plan(careful, PLAN)
    listed = CliRunner().invoke(app, ["approve", str(settings), "--json"])
    assert [one["digest"] for one in json.loads(listed.stdout)["waiting"]] == [PLAN.digest]
    done = CliRunner().invoke(app, ["approve", str(settings), PLAN.digest[:12], "--yes"])
    assert done.exit_code == 0
    check_plan(careful, PLAN)
    for unknown in ("f" * 12, PLAN.digest[:3], ""):
        result = CliRunner().invoke(app, ["approve", str(settings), unknown])
        assert "there is no plan" in str(result.exception)
