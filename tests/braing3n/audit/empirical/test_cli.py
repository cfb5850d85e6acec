"""`braing3n audit empirical`, from options to exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from braing3n.audit.empirical.cli import empirical, provenance
from braing3n.errors import ConfigError
from braing3n.privacy.noise import SecureRandom

QUICK = ["--stage", "diffusion", "--steps", "12", "--canaries", "32"]


def call(*options: str) -> Result:
    app = typer.Typer()
    app.command()(empirical)
    return CliRunner().invoke(app, [*QUICK, *options])


def test_it_holds_for_correct_training_and_says_what_was_claimed(pocket: None, tmp_path: Path) -> None:
    found = call("--json", "--epsilon", "8", "--out", str(tmp_path / "audit.json"))
    assert found.exit_code == 0, found.output
    content: dict[str, Any] = json.loads(found.stdout)
    assert content == json.loads((tmp_path / "audit.json").read_text())
    assert content["holds"] is True
    assert content["claim"]["epsilon"] == pytest.approx(8.0, rel=0.01)
    assert content["claim"]["epsilon"] <= 8.0
    assert content["claim"]["steps"] == 12
    assert content["false_alarm_rate"] == pytest.approx(0.05)
    assert content["canaries"]["all"] == 32
    assert all(bound["epsilon"] < 8 for bound in content["bounds"].values())


def test_broken_training_ends_with_1_and_reasons_in_words(
    pocket: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SecureRandom.gaussians
    monkeypatch.setattr(SecureRandom, "gaussians", lambda self, count: 0.5 * real(self, count))
    found = call("--noise-multiplier", "0.9")
    assert found.exit_code == 1
    assert "noise_scale: measured noise over claimed noise" in found.stdout
    assert "the claim does not hold" in found.stdout


def test_text_tells_bounds_and_diagnostics_and_the_false_alarms(pocket: None) -> None:
    found = call("--noise-multiplier", "0.9")
    assert found.exit_code == 0, found.output
    for words in ("claimed:  epsilon", "gaussian_fit", "noise_lag", "at most 5.0% of the time",
                  "for one patient"):
        assert words in found.stdout


def test_noise_is_given_once() -> None:
    found = call("--noise-multiplier", "0.9", "--epsilon", "3")
    assert isinstance(found.exception, ConfigError)


def test_it_says_which_code_was_audited_as_sites_say_it() -> None:
    from braing3n.protocol import code_digest
    from server.roster import expected_code_digest

    told = provenance()
    assert told["code_digest"] == expected_code_digest()
    assert told["code_digest"] != code_digest([])
    assert told["time"].endswith("Z")
    assert told["version"]
