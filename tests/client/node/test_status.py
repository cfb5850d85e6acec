"""`site status` says what is so now, of what lies in the state folder."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from braing3n.errors import PlanError
from braing3n.files import digest_bytes, locked
from braing3n.manifests import Content
from braing3n.plan import load_plan
from client.approval import check_plan, decide
from client.cli import app
from client.holding import Held
from client.node.running import LOCK, REACHED
from client.node.status import look
from client.site import Site
from simulation.run import PLANS


def mark(site, *, reached_s: float, started_s: float = 1000.0) -> None:
    """Have the server answered, and the client started, so many seconds ago."""
    now = datetime.now(UTC).timestamp()
    for name, ago in ((REACHED, reached_s), (LOCK, started_s)):
        path = site.network.path / name
        path.touch()
        os.utime(path, (now - ago, now - ago))


def test_a_site_that_was_never_started(joined) -> None:
    site = joined()
    found = look(site.config, datetime.now(UTC))
    assert (found.is_started, found.is_connected, found.is_well) == (False, False, False)
    assert (found.reached, found.last_refusal, found.held, found.doing) == ("", "", (), {})
    assert found.consortium == "demo"
    assert found.ca_days_left > 3000


@pytest.mark.parametrize(("reached_s", "started_s", "connected"), [
    (5, 1000, True), (50, 1000, True), (120, 1000, False),
    (5, 2, False),  # that was the client before
])
def test_connected_is_a_server_that_has_answered_lately(
    joined, reached_s: float, started_s: float, connected: bool,
) -> None:
    site = joined()
    mark(site, reached_s=reached_s, started_s=started_s)
    with locked(site.network.path / LOCK):
        found = look(site.config, datetime.now(UTC))
    assert found.is_started
    assert found.is_connected is connected
    assert found.reached


def test_a_client_that_was_killed_is_not_at_work_whatever_it_left(joined) -> None:
    site = joined()
    mark(site, reached_s=1)
    assert not look(site.config, datetime.now(UTC)).is_started


def test_the_last_refusal_is_the_last_of_the_sites_own_lines(joined) -> None:
    site = joined()
    (site.config.state_dir / "site.log").write_text(
        "2026-12-01T10:00:00+0000 answering with a refusal: plan\n"
        "2026-12-01T11:00:00+0000 answering with a refusal: egress\n"
        "  found: 2026-12-01T12:00:00+0000 answering with a refusal: forged\n"
        "2026-12-01T13:00:00+0000 answering hello\n")
    assert look(site.config, datetime.now(UTC)).last_refusal == "2026-12-01T11:00:00+0000 egress"


def test_files_that_are_damaged_are_left_out(joined) -> None:
    site = joined()
    (site.config.state_dir / "progress.json").write_text("{")
    assert look(site.config, datetime.now(UTC)).doing == {}


def test_the_command_says_so_by_its_exit_code_and_as_json(joined) -> None:
    site = joined()
    mark(site, reached_s=1)
    (site.config.state_dir / "progress.json").write_text('{"stage": "pretrain", "round": 2}')
    asked = ["status", str(site.path), "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["is_started"] is False
    with locked(site.network.path / LOCK):
        done = CliRunner().invoke(app, asked)
        told = CliRunner().invoke(app, asked[:-1])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["doing"] == {"stage": "pretrain", "round": 2}
    assert "site-a: connected; consortium demo" in told.stdout
    assert "stage pretrain, round 2" in told.stdout


def test_a_reply_that_waits_for_a_person_is_told_with_what_to_do(joined) -> None:
    site = joined()
    content = Content(site="site-a", kind="query.hello", num_bytes=2, report_digest=digest_bytes(b"{}"))
    one = Held(content=content, report="{}", since=1.5)
    (site.config.state_dir / "held").mkdir()
    (site.config.state_dir / "held" / f"{one.name}.json").write_text(one.model_dump_json())
    told = CliRunner().invoke(app, ["status", str(site.path)]).stdout
    assert f"waits for a person: {one.name} (`braing3n site outbox --release {one.name}`)" in told
    found = json.loads(CliRunner().invoke(app, ["status", str(site.path), "--json"]).stdout)
    assert found["held"] == [one.name]
    assert set(found) == {
        "site", "consortium", "ca_expires", "ca_days_left", "is_started", "is_connected", "reached",
        "doing", "held", "plans", "last_refusal", "is_well"}


def test_a_ca_that_ends_soon_is_warned_of(joined) -> None:
    site = joined(now=datetime.now(UTC) - timedelta(days=3640))
    done = CliRunner().invoke(app, ["status", str(site.path)])
    assert "warning: the consortium's CA holds for 9 days" in done.stdout


def test_a_plan_that_waits_is_told_with_what_to_do(joined) -> None:
    site = joined(settings="plans: {approve: each}\n")
    plan = load_plan(PLANS / "demo.yaml")
    with pytest.raises(PlanError):
        check_plan(Site(site.config), plan)
    assert look(site.config, datetime.now(UTC)).plans == (plan.digest,)
    done = CliRunner().invoke(app, ["status", str(site.path)])
    assert f"site approve SITE.yaml {plan.digest[:12]}" in done.output
    decide(site.config.state_dir, plan, approves=True)
    assert look(site.config, datetime.now(UTC)).plans == ()
