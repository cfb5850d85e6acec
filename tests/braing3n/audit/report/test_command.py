"""The command: formats, exit codes, and what is missing."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from braing3n.audit.cli import app
from braing3n.audit.report.command import write_audit_report
from braing3n.errors import ConfigError, LedgerError, OutputError


def test_the_ending_decides_and_another_one_is_refused(template: Path, tmp_path: Path) -> None:
    for name in ("report.docx", "report"):
        with pytest.raises(ConfigError, match="cannot be written") as refused:
            write_audit_report([template], tmp_path / name)
        assert refused.value.expected == "a name that ends in .html, .pdf or .json"
        assert refused.value.exit_code == 2


def test_what_is_missing_or_not_what_it_should_be_is_told(template: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(OutputError, match="holds no run"):
        write_audit_report([tmp_path / "empty"], out)
    with pytest.raises(LedgerError, match="cannot be read"):
        write_audit_report([template, tmp_path / "no.jsonl"], out, keys=[
            template / "sites" / "site-a" / "ledger.pub"])
    with pytest.raises(ConfigError, match="cannot be read"):
        write_audit_report([tmp_path / "no.jsonl"], out)
    with pytest.raises(ConfigError, match="nothing to report on"):
        write_audit_report([], out)
    with pytest.raises(ConfigError, match="a report is on one run"):
        write_audit_report([template, tmp_path / "empty"], out)
    for path in (tmp_path / "other.json", tmp_path / "no.json"):
        with pytest.raises(ConfigError, match="is no empirical audit"):
            write_audit_report([template], out, empirical=[path])
    (tmp_path / "taken.html").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_audit_report([template], tmp_path / "taken.html")
    assert not out.exists()


def test_the_command_ends_with_1_where_something_does_not_hold(
    federation: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["report", str(federation), "--out", str(out)])
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "holds")
    path = federation / "sites" / "site-a" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"steps":10', b'"steps":11', 1))
    result = CliRunner().invoke(app, ["report", str(federation), "--out", str(out)])
    assert result.exit_code == 1
    assert "does not hold" in result.stdout
    assert "NOT supported" in out.read_text()



def test_commands_come_to_the_same(answer: Any, tmp_path: Path) -> None:
    for command in answer["commands"]:
        words = command["line"].split()
        words = [str(tmp_path / "again.html") if word == "report.html" else word for word in words]
        assert words[:2] == ["braing3n", "audit"]
        assert CliRunner().invoke(app, words[2:]).exit_code == 0
