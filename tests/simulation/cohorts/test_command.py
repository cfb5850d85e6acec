import json

import pytest
from typer.testing import CliRunner

from braing3n.errors import ConfigError
from simulation.cli import app

RUNNER = CliRunner()


def _run(*arguments):
    return RUNNER.invoke(app, ["cohorts", *arguments])


def test_all_cohorts_are_listed_with_how_their_site_is_told_and_what_is_from_memory():
    found = {one["name"]: one for one in json.loads(_run("--json").stdout)}
    assert found["ixi"]["site"]["id_pattern"]
    assert found["nki-rs"]["site"] == {"single": "nki"}
    assert "site" in found["gsp"]["confirm"]
    listed = _run().stdout
    assert all(name in listed for name in found)
    assert "from memory" in listed


def test_one_cohort_is_shown_in_words_with_what_is_to_be_confirmed():
    shown = _run("show", "ppmi").stdout
    assert "site: column SITE or site (confirm)" in shown
    assert "sex: column SEX; 0 = F, 1 = M\n" in shown
    assert json.loads(_run("show", "thp", "--json").stdout)["exclude"] == {"subject": "^sub-THPBALL$"}


@pytest.mark.parametrize("name", ["ixl", "nowhere.yaml"])
def test_a_cohort_that_is_not_there_ends_in_an_error_of_ours(name):
    assert isinstance(_run("show", name).exception, ConfigError)
