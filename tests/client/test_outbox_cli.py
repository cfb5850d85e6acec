"""`braing3n site outbox`: what waits is listed, and let out or kept by its name."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from braing3n.errors import OutputError
from braing3n.files import digest_bytes, write_text
from braing3n.manifests import Content
from client.egress_log import append_manifest
from client.holding import Held, held
from client.outbox_cli import outbox

RUNNER = CliRunner()
APP = typer.Typer()
APP.command()(outbox)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "bids").mkdir()
    path = tmp_path / "site.yaml"
    path.write_text("name: site-a\ndata: {folder: bids}\nstate_dir: state\n")
    return path


def waiting(state: Path) -> Held:
    content = Content(site="site-a", kind="query.hello", num_bytes=2, report_digest=digest_bytes(b"{}"))
    one = Held(content=content, report="{}", since=1.5)
    write_text(state / "held" / f"{one.name}.json", one.model_dump_json())
    return one


def test_what_left_and_what_waits_is_listed_for_programs(site: Path) -> None:
    one = waiting(site.parent / "state")
    sent = append_manifest(site.parent / "state", one.content)
    told = json.loads(RUNNER.invoke(APP, [str(site), "--json"]).stdout)
    assert told["waits"] is False
    assert told["sent"] == [sent.model_dump(mode="json")]
    assert told["held"] == [{"name": one.name, "since": 1.5, "report": {},
                             **one.content.model_dump(mode="json")}]


@pytest.mark.parametrize(("option", "answer"), [("--release", "release"), ("--discard", "discard")])
def test_a_reply_is_decided_about_by_the_name_in_the_list(site: Path, option: str, answer: str) -> None:
    one = waiting(site.parent / "state")
    listed = RUNNER.invoke(APP, [str(site)]).stdout
    assert f"{option} {one.name}" in listed
    assert RUNNER.invoke(APP, [str(site), option, one.name]).exit_code == 0
    assert (site.parent / f"state/held/{one.name}.answer").read_text() == answer
    missing = RUNNER.invoke(APP, [str(site), option, "0" * 12])
    assert isinstance(missing.exception, OutputError)


def test_what_is_no_reply_that_waits_is_passed_over(site: Path) -> None:
    one = waiting(site.parent / "state")
    for name, text in (("half", one.model_dump_json()[:-9]), ("other", "{}")):
        write_text(site.parent / f"state/held/{name}.json", text)
    assert held(site.parent / "state") == [one]
