import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from braing3n.errors import ConfigError, LedgerError
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.ledger import open_ledger
from braing3n.privacy.ledger_entry import WITHOUT_DP, MechanismRecord, SpentRecord
from braing3n.receipts import receipt_line, sign_receipt
from braing3n.signing import open_key
from client.cli import app
from client.ledger_view import describe_ledger, look_at_ledger

HOW = MechanismRecord(name="poisson_gaussian", sample_rate=0.1, noise_multiplier=1.5, steps=100,
                      clip_norm=1.0, views=4, engine="loop", num_subjects=80)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site that spent two rounds, one of them unsettled, and refused once."""
    (tmp_path / "scans").mkdir()
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump({
        "name": "a", "data": {"folder": "scans", "draw": "alone"}, "state_dir": "state",
        "budget": {"epsilon": 8.0}}))
    place = {"run": "r1", "stage": "pretrain", "cohort": "patients"}
    with open_ledger(tmp_path / "state") as ledger:
        for number in range(2):
            entry = ledger.reserve(
                **place, round_index=number, what="update", mechanism=HOW, plan_digest="0" * 64,
                spent=SpentRecord(pld=1.0, rdp=1.1, delta=1e-5))
            if number == 0:
                ledger.settle(entry, steps=100, spent=entry.spent, released_digest="1" * 64)
        ledger.refuse("budget", **place, round_index=2)
    return path


def test_what_was_spent_is_composed_anew_from_the_entries(site: Path) -> None:
    told = look_at_ledger(site)
    with open_ledger(site.parent / "state") as ledger:
        expected = epsilon(ledger.events("patients"), 1e-5)
    assert told["spent"]["pld"] == pytest.approx(expected)
    assert told["by_stage"] == {"pretrain": pytest.approx(expected)}
    assert told["left"] == pytest.approx(8.0 - expected)
    assert (told["num_unsettled"], told["refused"]) == (1, {"budget": 1})


def test_a_person_reads_that_nothing_is_promised_after_work_without_dp(site: Path) -> None:
    with open_ledger(site.parent / "state") as ledger:
        ledger.note(WITHOUT_DP, run="r1", stage="decoder", round_index=0, cohort="patients")
    told = look_at_ledger(site)
    assert told["is_void"]
    assert "no epsilon says anything" in describe_ledger(told)


def test_the_command_prints_for_people_and_for_machines(site: Path) -> None:
    shown = CliRunner().invoke(app, ["budget", "show", str(site)])
    assert shown.exit_code == 0
    assert "1 reserved and not settled, counted in full" in shown.output
    machine = CliRunner().invoke(app, ["budget", "show", str(site), "--json"])
    assert json.loads(machine.output)["last_refused"][0]["round"] == 3


def test_a_site_that_has_spent_nothing_has_all_of_its_budget(site: Path) -> None:
    (site.parent / "state" / "ledger.jsonl").rename(site.parent / "kept")
    with pytest.raises(LedgerError, match="is gone"):  # its key says that there was one
        look_at_ledger(site)
    for path in (site.parent / "state").iterdir():
        path.unlink()
    told = look_at_ledger(site)
    assert (told["spent"]["pld"], told["left"], told["num_entries"]) == (0.0, 8.0, 0)


def test_a_damaged_ledger_and_a_site_without_budget_are_told(site: Path) -> None:
    ledger = site.parent / "state" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"steps":100', b'"steps":101', 1))
    with pytest.raises(LedgerError, match="is damaged in line"):
        look_at_ledger(site)
    settings = yaml.safe_load(site.read_text())
    del settings["budget"]
    site.write_text(yaml.safe_dump(settings))
    with pytest.raises(ConfigError, match="has no budget"):
        look_at_ledger(site)


def test_training_before_there_was_a_budget_voids_what_is_said_later(site: Path) -> None:
    (site.parent / "state" / "without_dp.jsonl").write_text('["r0", "pretrain"]\n["r1", "de')
    assert look_at_ledger(site)["is_void"]


def test_a_ledger_that_was_cut_is_found_by_the_sites_own_receipts(site: Path) -> None:
    state, coordinator = site.parent / "state", open_key(site.parent / "c.key", site.parent / "c.pub")
    with open_ledger(state) as ledger:
        head, key = ledger.head, ledger.public_key.text
    receipt = sign_receipt(coordinator, number=0, previous="0" * 64, run="r1", site="a", seq=head.seq,
                           digest=head.digest, site_key=key)
    (state / "receipts.jsonl").write_bytes(receipt_line(receipt) + b"\n")
    look_at_ledger(site)
    lines = (state / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (state / "ledger.jsonl").write_bytes(b"".join(lines[:-1]))
    with pytest.raises(LedgerError, match="not the one that the coordinator was shown"):
        look_at_ledger(site)
