"""`braing3n site budget sign`: what a hospital decides is in the ledger, and asked for before."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from braing3n.errors import ConfigError
from braing3n.privacy.ledger import load_history, open_ledger
from braing3n.privacy.ledger_history import Decided
from client.budget_cli import app

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


def test_a_site_without_a_budget_is_told_so(site: Path) -> None:
    site.write_text(site.read_text().replace("budget: {epsilon: 4.0}\n", ""))
    result = RUNNER.invoke(app, ["sign", str(site), "--yes"])
    assert isinstance(result.exception, ConfigError)
    assert not (site.parent / "state").exists()
