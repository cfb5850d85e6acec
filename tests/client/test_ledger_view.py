import inspect
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from braing3n.errors import BrainG3NError, ConfigError, LedgerError, ReplayError
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.ledger import open_ledger
from braing3n.privacy.ledger_entry import WITHOUT_DP, MechanismRecord, SpentRecord
from braing3n.privacy.ledger_history import Decided
from braing3n.protocol import REFUSALS
from braing3n.receipts import receipt_line, sign_claim, sign_receipt
from braing3n.signing import open_key
from client import guard
from client.budget_page import up
from client.cli import app
from client.ledger_view import RULES, describe_ledger, look_at_ledger

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


def test_a_damaged_ledger_is_told(site: Path) -> None:
    ledger = site.parent / "state" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"steps":100', b'"steps":101', 1))
    with pytest.raises(LedgerError, match="is damaged in line"):
        look_at_ledger(site)


def test_training_before_there_was_a_budget_voids_what_is_said_later(site: Path) -> None:
    (site.parent / "state" / "without_dp.jsonl").write_text('["r0", "pretrain"]\n["r1", "de')
    assert look_at_ledger(site)["is_void"]


def test_a_ledger_that_was_cut_is_found_by_the_sites_own_receipts(site: Path) -> None:
    state, coordinator = site.parent / "state", open_key(site.parent / "c.key", site.parent / "c.pub")
    with open_ledger(state) as ledger:
        claim = sign_claim(ledger.sign, ledger.public_key, "a", head=ledger.head)
    receipt = sign_receipt(coordinator, number=0, previous="0" * 64, run="r1", site="a", claim=claim)
    (state / "receipts.jsonl").write_bytes(receipt_line(receipt) + b"\n")
    look_at_ledger(site)
    lines = (state / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (state / "ledger.jsonl").write_bytes(b"".join(lines[:-1]))
    with pytest.raises(LedgerError, match="not the one that the coordinator was shown"):
        look_at_ledger(site)


def change(site: Path, **settings: object) -> None:
    """Write the site's file anew, with other settings; None leaves one out."""
    content = {**yaml.safe_load(site.read_text()), **settings}
    site.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))


def shown(site: Path, exit_code: int = 0) -> str:
    ended = CliRunner().invoke(app, ["budget", "show", str(site)])
    assert ended.exit_code == exit_code
    return ended.output


def test_the_scans_need_not_be_there(site: Path) -> None:
    before = shown(site)
    (site.parent / "scans").rmdir()
    assert shown(site) == before


def test_what_is_left_is_shown_rounded_down_and_what_is_spent_rounded_up(site: Path) -> None:
    told = look_at_ledger(site)
    text = describe_ledger(told)
    spent = float(text.split("spent: ")[1].split(" ")[0])
    left = float(text.split("left:  ")[1].split(" ")[0])
    assert told["spent"]["pld"] <= spent < told["spent"]["pld"] + 1e-3
    assert told["left"] - 1e-3 < left <= told["left"]
    assert "of 8\n" in text


def test_each_refusal_is_told_with_its_rule_how_often_and_where_the_reason_stands(site: Path) -> None:
    place = {"run": "r1", "stage": "decoder", "cohort": "patients"}
    with open_ledger(site.parent / "state") as ledger:
        for number in range(2):
            ledger.refuse(ReplayError.code, **place, round_index=number)
        ledger.note("refused_unread")
    text = shown(site)
    assert "budget (1 time): it does not fit: the site's epsilon" in text
    assert "replay (2 times): it was asked for before" in text
    assert "a message that is no task (1 time)" in text
    assert str(site.parent / "state" / "site.log") in text


def test_every_word_that_can_be_answered_has_its_rule() -> None:
    assert set(RULES) == set(REFUSALS)


def test_the_log_that_is_pointed_to_holds_the_words_that_are_pointed_to(site: Path) -> None:
    (guard_text,) = re.findall(r'f"(answering with a refusal): ', inspect.getsource(guard))
    assert f"`{guard_text}`" in shown(site)


def test_a_site_without_a_budget_gets_a_plain_answer(site: Path) -> None:
    for path in (site.parent / "state").iterdir():
        path.unlink()
    change(site, budget=None)
    assert shown(site) == "this site has no budget: it trains without differential privacy\n"
    (site.parent / "state" / "without_dp.jsonl").write_text('["r0", "pretrain"]\n["r1", "decoder"]\n')
    text = shown(site)
    assert "run r0, stage pretrain" in text
    assert "run r1, stage decoder" in text
    told = look_at_ledger(site)
    assert (told["budget"], told["without_dp"]) == (None, [["r0", "pretrain"], ["r1", "decoder"]])


def test_an_account_under_another_name_does_not_vanish(site: Path) -> None:
    spent = look_at_ledger(site)["spent"]["pld"]
    change(site, budget={"epsilon": 8.0, "cohort": "new"})
    text = shown(site)
    assert f"warning: the ledger holds an epsilon of {up(spent)} at delta 1e-05" in text
    assert "another cohort name, patients," in text
    assert "write `cohort: patients` again" in text


def test_a_name_under_which_nothing_was_spent_is_an_account_too(site: Path) -> None:
    with open_ledger(site.parent / "state") as ledger:
        ledger.decide("signed", Decided(6.0, 1e-5))
        ledger.refuse("policy", run="r9", stage="pretrain", cohort="refused", round_index=0)
    first, second = look_at_ledger(site)["warnings"]
    assert "the ledger holds a signed epsilon of 6 at delta 1e-05, and nothing spent, under" in first
    assert "write `cohort: signed` again" in first
    assert "the ledger holds refusals alone under another cohort name, refused," in second


@pytest.mark.parametrize("is_left_out", [True, False])
def test_a_budget_that_was_taken_out_is_an_alarm_and_not_another_name(site: Path, is_left_out: bool,
                                                                      ) -> None:
    spent = look_at_ledger(site)["spent"]["pld"]
    change(site, budget=None)
    if not is_left_out:
        site.write_text(site.read_text() + "budget: null\n")
    text = shown(site, exit_code=1)
    assert f"an epsilon of {up(spent)} at delta 1e-05 for cohort patients" in text
    assert "without differential privacy, and void that for good" in text
    assert "write `budget:` back" in text
    assert "another cohort name" not in text


def test_what_is_void_already_is_not_voided_by_a_budget_that_was_taken_out(site: Path) -> None:
    with open_ledger(site.parent / "state") as ledger:
        ledger.note(WITHOUT_DP, run="r1", stage="decoder", round_index=0, cohort="patients")
    change(site, budget=None)
    assert "void" not in shown(site)


def test_refusals_alone_are_nothing_that_training_would_void(site: Path) -> None:
    for path in (site.parent / "state").iterdir():
        path.unlink()
    with open_ledger(site.parent / "state") as ledger:
        ledger.refuse("policy", run="r9", stage="pretrain", cohort="patients", round_index=0)
    change(site, budget=None)
    assert "warning" not in shown(site)


@pytest.mark.parametrize("more", [{"epsilon": 9.0}, {"epsilon": 8.0, "delta": 1e-6}])
def test_what_counts_is_what_was_signed_and_more_stops_the_site(site: Path, more: dict[str, float],
                                                                ) -> None:
    with open_ledger(site.parent / "state") as ledger:
        ledger.decide("patients", Decided(7.5, 1e-5))
        events = ledger.events("patients")
    change(site, budget={"epsilon": 7.5})
    assert look_at_ledger(site)["warnings"] == []
    change(site, budget=more)
    told = look_at_ledger(site)
    assert told["in_force"] == {"epsilon": 7.5, "delta": 1e-5}
    assert told["left"] == pytest.approx(7.5 - epsilon(events, 1e-5))
    assert told["budget"] == {"delta": 1e-5, **more}
    (warning,) = told["warnings"]
    assert "without a signed decision" in warning
    assert f"everything is refused (`policy`) until `braing3n site budget sign {site}`" in warning
    text = shown(site, exit_code=1)
    assert text.splitlines()[1] == f"warning: {warning}"
    assert "epsilon 7.5 at delta 1e-05 (signed)" in text
    assert "of 7.5\n" in text


def test_a_stricter_budget_is_in_force_as_it_is_written(site: Path) -> None:
    with open_ledger(site.parent / "state") as ledger:
        ledger.decide("patients", Decided(8.0, 1e-5))
    change(site, budget={"epsilon": 7.0})
    text = shown(site)
    assert "epsilon 7 at delta 1e-05 (8 is signed)" in text
    assert "of 7\n" in text


def test_a_budget_that_nobody_has_signed_yet_says_so(site: Path) -> None:
    assert "epsilon 8 at delta 1e-05 (not signed yet: the first task signs it)" in shown(site)


@pytest.mark.parametrize("content", [None, b"garbage", "foreign"])
def test_a_key_that_is_gone_or_not_the_ledgers_own_is_told(site: Path, content: bytes | str | None,
                                                           ) -> None:
    key = site.parent / "state" / "ledger.key"
    key.unlink()
    if content == "foreign":
        open_key(key)
    elif content is not None:
        key.write_bytes(content)
        key.chmod(0o600)
    ended = CliRunner().invoke(app, ["budget", "show", str(site)])
    assert isinstance(ended.exception, BrainG3NError)
    assert (ended.exception.exit_code, ended.output) == (2, "")
    assert "restore" in ended.exception.fix


def test_a_state_folder_that_may_not_be_read_or_is_a_file_is_told(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)  # tests may run as root, who may read all
        with pytest.raises(LedgerError, match="cannot be read"):
            look_at_ledger(site)
    change(site, state_dir="site.yaml")
    with pytest.raises(ConfigError, match="no folder of the site's own"):
        look_at_ledger(site)
