"""`braing3n site budget sign`: what a hospital decides is in the ledger, and asked for before."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from braing3n.config import load_site_config
from braing3n.errors import ConfigError, LedgerError
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.events import Event
from braing3n.privacy.ledger import load_history, open_ledger
from braing3n.privacy.ledger_entry import WITHOUT_DP, MechanismRecord, SpentRecord
from braing3n.privacy.ledger_history import Decided
from client.budget_cli import app
from client.budget_page import left, up
from client.subjects import training_subjects

RUNNER = CliRunner()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text("name: site-a\ndata: {folder: scans, draw: alone}\nstate_dir: state\n"
                    "budget: {epsilon: 4.0}\n")
    return path


def signed(site: Path) -> list[str]:
    return [str(entry.detail) for entry in load_history(site.parent / "state").entries
            if entry.code == "budget"]


def test_a_raised_budget_is_asked_about_and_signed(site: Path) -> None:
    with open_ledger(site.parent / "state") as ledger:
        ledger.decide("patients", Decided(3.0, 1e-5))
    refused = RUNNER.invoke(app, ["sign", str(site)], input="n\n")
    assert (refused.exit_code, signed(site)) == (1, ["epsilon 3.0 delta 1e-05"])
    assert "signed last: an epsilon of 3 at delta 1e-05" in refused.stdout
    done = RUNNER.invoke(app, ["sign", str(site)], input="y\n")
    assert (done.exit_code, signed(site)[1:]) == (0, ["epsilon 4.0 delta 1e-05"])
    again = RUNNER.invoke(app, ["sign", str(site)])
    assert again.exit_code == 0
    assert "nothing to sign" in again.stdout
    assert len(signed(site)) == 2


def test_at_a_new_site_it_begins_the_ledger(site: Path) -> None:
    assert RUNNER.invoke(app, ["sign", str(site), "--yes"]).exit_code == 0
    assert signed(site) == ["epsilon 4.0 delta 1e-05"]


def spend(state: Path, cohort: str = "patients", steps: int = 60) -> list[Event]:
    record = MechanismRecord(name="poisson_gaussian", sample_rate=0.1, noise_multiplier=1.5,
                             steps=steps, clip_norm=1.0, views=4, engine="loop", num_subjects=70)
    with open_ledger(state) as ledger:
        ledger.reserve(run="old", stage="pretrain", round_index=0, cohort=cohort, what="update",
                       mechanism=record, spent=SpentRecord(pld=1.0, rdp=1.0, delta=1e-5),
                       plan_digest="d" * 64)
        return ledger.events(cohort)


def signing(site: Path) -> str:
    ended = RUNNER.invoke(app, ["sign", str(site), "--yes"])
    assert ended.exit_code == 0
    return ended.stdout


def scans(site: Path, subjects: int) -> None:
    for number in range(subjects):
        folder = site.parent / "scans" / f"sub-{number:03d}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{number:03d}_T1w.nii.gz").touch()


def test_what_is_signed_is_told_with_what_is_spent_at_its_delta_and_what_it_means(site: Path) -> None:
    events = spend(site.parent / "state")
    site.write_text(site.read_text().replace("epsilon: 4.0", "epsilon: 8.0, delta: 1.0e-6"))
    text, cost = signing(site), epsilon(events, 1e-6)
    assert f"spent: {up(cost)}, left: {left(8.0 - cost)}" in text
    assert ("2,981 times as likely with a patient as without, but for a chance of 1 in 1,000,000"
            in text)
    assert "even odds become at most 99.97 % sure" in text


def test_what_is_spent_already_beyond_what_is_signed_is_told(site: Path) -> None:
    cost = epsilon(spend(site.parent / "state", steps=6000), 1e-5)
    text = signing(site)
    assert f"spent: {up(cost)}, over by {up(cost - 4.0)}" in text
    assert "what costs something is refused (`budget`)" in text


def test_patients_without_any_epsilon_have_none_that_is_left(site: Path) -> None:
    with open_ledger(site.parent / "state") as ledger:
        ledger.note(WITHOUT_DP, run="r", stage="decoder", round_index=0, cohort="patients")
    text = signing(site)
    assert "left:" not in text
    assert "no epsilon holds: the ledger says" in text


@pytest.mark.parametrize(("delta", "warned"), [(1e-3, False), (2e-3, True)])
def test_a_delta_that_is_large_for_so_many_patients_is_a_warning(site: Path, delta: float, warned: bool,
                                                                 ) -> None:
    scans(site, 100)
    site.write_text(site.read_text().replace("scans,", "scans, held_out: 0.3,").replace(
        "epsilon: 4.0", f"epsilon: 4.0, delta: {delta}"))
    assert 50 < training_subjects(load_site_config(site)) < 100
    text = signing(site)
    assert ("choose well below 1 over their number, such as 1e-5" in text) == warned
    assert ("warning" in text) == warned


def test_what_would_be_refused_is_told_and_signed_all_the_same(site: Path) -> None:
    text = signing(site)
    assert "warning: the patients to train on could not be counted: " in text
    assert str(site.parent / "scans") in text
    scans(site, 5)
    assert "nothing to sign" in (text := signing(site))
    assert "patients to train on, fewer than min_subjects (50): training is refused (`policy`)" in text


def test_a_new_name_is_not_signed_without_a_word_on_the_old_one(site: Path) -> None:
    with open_ledger(site.parent / "state") as ledger:
        ledger.decide("patients", Decided(4.0, 1e-5))
    site.write_text(site.read_text().replace("epsilon: 4.0", "epsilon: 4.0, cohort: renamed"))
    assert "warning: the ledger holds a signed epsilon of 4 at delta 1e-05" in signing(site)


@pytest.mark.parametrize("wanted", ["4.0", "9.0"])
def test_nothing_is_signed_without_the_key_that_signed_before(site: Path, wanted: str) -> None:
    signing(site)
    site.write_text(site.read_text().replace("4.0", wanted))
    (site.parent / "state" / "ledger.key").unlink()
    ended = RUNNER.invoke(app, ["sign", str(site), "--yes"])
    assert isinstance(ended.exception, LedgerError)
    assert ended.stdout == ""


def test_no_ledger_is_begun_where_an_outbox_shows_that_there_was_one(site: Path) -> None:
    (site.parent / "state" / "outbox").mkdir(parents=True)
    (site.parent / "state" / "outbox" / "train-0.npz").touch()
    ended = RUNNER.invoke(app, ["sign", str(site), "--yes"])
    assert isinstance(ended.exception, LedgerError)
    assert not (site.parent / "state" / "ledger.jsonl").exists()


def test_a_site_without_a_budget_is_told_so(site: Path) -> None:
    site.write_text(site.read_text().replace("budget: {epsilon: 4.0}\n", ""))
    result = RUNNER.invoke(app, ["sign", str(site), "--yes"])
    assert isinstance(result.exception, ConfigError)
    assert not (site.parent / "state").exists()
