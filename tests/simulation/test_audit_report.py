"""The report for an ethics board on a run as it really is: one site with DP, one without."""

import json
import re
from pathlib import Path

import pytest

from braing3n.audit.output import up
from braing3n.audit.report.command import write_audit_report
from braing3n.audit.report.document import Document
from braing3n.plan import load_plan
from simulation.grid import run_locally
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path, short_dp_plan: str) -> Path:
    out = tmp_path_factory.mktemp("audited") / "out"
    plan = load_plan(PLANS / "demo-dp.yaml", short_dp_plan)
    sites = write_site_files(find_site_folders(phantom_cohort), out, plan, without_dp=["site-b"])
    run_locally(PLANS / "demo-dp.yaml", sites, out, sweep=short_dp_plan)
    return out


@pytest.fixture(scope="module")
def document(run: Path) -> Document:
    return write_audit_report([run], run / "audit.html")


def test_the_first_paragraph_promises_what_holds(run: Path, document: Document) -> None:
    html = (run / "audit.html").read_text(encoding="utf-8")
    first = re.sub("<[^>]*>", "", re.search(r'<p class="promise".*?</p>', html, re.DOTALL)[0])
    told = json.loads((run / "run.json").read_text())["privacy_by_site"]["site-a"]["stages"]
    spent = up(told["diffusion"]["epsilon_total"])
    assert f"site-a: ({spent}, 1e-05)-differential privacy for one patient of this site" in first
    assert "site-b: no differential privacy; updates can reveal training data." in first
    assert 'class="failed"' not in html


def test_a_real_run_and_its_ledgers_tell_the_same(document: Document) -> None:
    assert document.holds
    assert document.disagreements == ()
    assert [row.says for row in document.digests] == ["equal"] * 10
    assert {one.site: (one.kind, one.is_in_model) for one in document.promises} == {
        "site-a": ("dp", True), "site-b": ("none", True)}


def test_only_the_site_without_dp_is_said_to_have_given_anything_exact(document: Document) -> None:
    assert {row.site for row in document.releases if row.noised == "exact"} == {"site-b"}
    left = [(row.stage, row.what, row.count) for row in document.releases if row.site == "site-a"]
    assert left == [("pretrain", "updates of weights", 1), ("decoder", "updates of weights", 1),
                    ("decoder", "latent moments", 1), ("diffusion", "updates of weights", 1)]


def test_a_ledger_that_lost_a_round_is_caught_by_the_runs_record(run: Path, tmp_path: Path) -> None:
    """A site that cheats without receipts: its shortened ledger holds by itself."""
    path = run / "sites" / "site-a" / "ledger.jsonl"
    folder = tmp_path / "sites" / "site-a"
    folder.mkdir(parents=True)
    (folder / "ledger.pub").write_bytes((path.parent / "ledger.pub").read_bytes())
    (folder / "ledger.jsonl").write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    for name in ("run.json", "metrics.jsonl"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    found = write_audit_report([tmp_path], tmp_path / "audit.json")
    assert found.given.verified.holds
    assert [(one.code, one.site) for one in found.disagreements] == [
        ("unlisted", "site-a"), ("other_mechanism", "site-a"), ("other_epsilon", "site-a")]
    assert "diffusion, round 1" in found.disagreements[0].what
