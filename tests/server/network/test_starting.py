"""What is checked before the server starts, and what it is made of."""

import shutil
import socket
import time
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from braing3n.errors import ConfigError, ProtocolError, RunFailedError
from braing3n.files import locked
from braing3n.service.supervisor import Ended
from server.authority import initialise
from server.network import starting
from server.network.places import Places
from server.network.starting import MAX_QUICK_ENDS, RESTART_S, QuickEnds, programs, serve


@pytest.fixture
def refused(config, kept, monkeypatch):
    """Start the server, see it refuse before any program is started, and return the error."""

    def never(*_):
        pytest.fail("it was started")

    monkeypatch.setattr("braing3n.service.supervisor.Supervisor.start", never)

    def start(kind=ConfigError, health=None, config=config):
        with pytest.raises(kind) as told:
            serve(config, kept.log, health)
        return told.value

    return start


def renewed(config, now):
    """Begin the consortium anew, at another time."""
    shutil.rmtree(config.state_dir)
    initialise(config, now)


def test_a_taken_port_is_told_with_what_to_do(config, refused):
    with socket.create_server(("", config.port)):
        error = refused()
    assert error.what == f"port {config.port} is taken"
    assert "end that program, or change `port:`" in error.fix


def test_an_expired_certificate_is_told_with_what_to_do(config, refused):
    renewed(config, datetime.now(UTC) - timedelta(days=400))
    error = refused()
    assert error.what == "the server's certificate has expired"
    assert "When a certificate expires" in error.fix


def test_a_certificate_of_the_future_is_a_wrong_clock(config, refused):
    renewed(config, datetime.now(UTC) + timedelta(days=2))
    error = refused()
    assert "does not hold yet" in error.what
    assert "clock" in error.fix


def test_a_certificate_that_ends_soon_is_a_warning_with_what_to_do(config, kept, refused, monkeypatch):
    renewed(config, datetime.now(UTC) - timedelta(days=340))
    monkeypatch.setattr(starting, "MIN_FREE_BYTES", 1 << 70)  # so that it ends there
    refused()
    warning, = [one for one in kept.events if one["level"] == "warning"]
    assert "the server's certificate holds for 24 days" in warning["text"]
    assert "braing3n server renew" in warning["text"]


def test_a_disk_that_is_nearly_full_is_told_with_what_to_do(config, refused, monkeypatch):
    usage = namedtuple("usage", "total used free")(1 << 40, 1 << 40, 5 * 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    error = refused()
    assert error.what == f"the disk of {config.state_dir} is nearly full"
    assert (error.expected, error.found, error.fix) == ("1 GB at least", "0.50 GB", "make room")


def test_a_second_server_is_told_that_one_is_at_work(config, places, refused):
    with locked(config.state_dir / places.lock):
        error = refused()
    assert error.what == "a server is at work already"
    assert error.fix == "stop that one first"


def test_a_missing_nginx_is_told_with_how_to_get_it(refused, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, *_, **__: None)
    error = refused()
    assert error.what == "nginx is not installed"
    assert "apt install nginx-light" in error.fix


@pytest.mark.parametrize("name", ["server_key", "superexec_secret", "server_certificate",
                                  "ca_certificate"])
def test_a_file_that_is_missing_is_told_by_its_name(config, refused, name):
    getattr(config, name).unlink()
    error = refused()
    assert getattr(config, name).name in str(error)
    assert "restore it" in error.fix or "server renew" in error.fix


@pytest.mark.parametrize("name", ["server_key", "superexec_secret"])
def test_a_secret_that_others_may_read_is_not_used(config, refused, name):
    getattr(config, name).chmod(0o640)
    assert "is open to others" in refused().what


def test_a_certificate_for_other_names_is_told(config, refused):
    error = refused(config=config.model_copy(update={"names": ("fl.example.org",)}))
    assert "for other names" in error.what


def test_a_damaged_roster_is_told_before_anything_listens(config, refused):
    config.roster.write_bytes(config.roster.read_bytes()[:-20])
    assert "roster" in str(refused((ConfigError, ProtocolError)))


@pytest.mark.parametrize("health", ["9444", ":9444", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536",
                                    "127.0.0.1:x", "127.0.0.1:²", "192.0.2.1:9444", "not a host:9444"])
def test_health_is_served_at_an_address_of_this_machine_alone(refused, health):
    error = refused(health=health)
    assert error.what == "health cannot be served there"
    assert error.found == health
    assert "--health" in error.fix


def test_health_is_not_served_at_a_port_that_is_taken(refused, listening):
    assert refused(health=f"127.0.0.1:{listening}").what == "health cannot be served there"


@pytest.fixture
def made(config, places):
    return {one.name: one for one in programs(config, places, 9091, "127.0.0.1:9444")}


def test_superlink_listens_on_loopback_alone_knows_sites_by_their_keys_and_runs_no_apps(made, places):
    command = made["superlink"].command
    options = dict(pairwise(command))
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "9091")
    assert options["--isolation"] == "process"
    assert "--enable-supernode-auth" in command
    assert "--insecure" not in command
    assert options["--ssl-ca-certfile"] == str(places.authority)
    assert options["--database"] == str(places.database)
    assert options["--health-server-address"] == "127.0.0.1:9444"


def test_superexec_asks_superlink_on_loopback_by_tls(made, places):
    command = made["superexec"].command
    options = dict(pairwise(command))
    assert options["--runtime-api-address"] == "127.0.0.1:9091"
    assert options["--root-certificates"] == str(places.authority)
    assert "--insecure" not in command


def test_superlink_and_superexec_know_each_other_by_the_secret_of_the_consortium(made, config):
    for name in ("superlink", "superexec"):
        at = made[name].command.index("--superexec-auth-secret-file")
        assert made[name].command[at + 1] == str(config.superexec_secret)


def test_without_health_none_is_served(config, places):
    assert "--health-server-address" not in programs(config, places, 9091, None)[0].command


def test_no_secret_is_in_an_argument_or_in_the_environment(made, config, places):
    secrets = [path.read_text().split("\n")[1 if "BEGIN" in path.read_text() else 0] for path in (
        config.superexec_secret, config.server_key, config.ca_key, config.coordinator_key, places.key)]
    assert all(len(secret) >= 60 for secret in secrets)
    for one in made.values():
        text = " ".join([*one.command, *one.environment.values()])
        assert not any(secret in text for secret in secrets)


def test_all_work_in_superlinks_own_folder_with_a_flower_home_of_their_own(made, places):
    for one in made.values():
        assert one.folder == places.superlink
        assert one.environment["FLWR_HOME"] == str(places.flower_home)
    assert list(made) == ["superlink", "superexec", "nginx"]


@pytest.mark.parametrize(("line", "is_routine"), [
    ('INFO [uvicorn.access] 127.0.0.1:1 - "POST /v1/fleet/pull-messages HTTP/1.1" 200', True),
    ('INFO [uvicorn.access] 127.0.0.1:1 - "POST /v1/fleet/pull-messages HTTP/1.1" 401', False),
    ("INFO :      ControlServicer.ListNodes", True),
    ("INFO :      ControlServicer.RegisterNode", False),
    ("ERROR :     database is locked", False),
])
def test_only_what_is_out_of_the_ordinary_is_in_the_log(made, line, is_routine):
    assert bool(made["superlink"].unsaid.search(line)) == is_routine


def test_a_program_is_started_again_but_not_one_that_never_stays_up():
    ends = QuickEnds()
    for _ in range(MAX_QUICK_ENDS - 1):
        assert ends.judge(Ended("superlink", 1, ("a", "b"))) == RESTART_S
        assert ends.judge(Ended("nginx", 1, ())) == RESTART_S
    with pytest.raises(RunFailedError, match="superlink does not stay up") as told:
        ends.judge(Ended("superlink", 1, ("address in use",)))
    assert "address in use" in told.value.found


def test_a_program_that_ends_now_and_then_is_started_again(monkeypatch):
    ends, now = QuickEnds(), [time.monotonic()]
    monkeypatch.setattr(starting.time, "monotonic", lambda: now[0])
    for _ in range(5 * MAX_QUICK_ENDS):
        assert ends.judge(Ended("superlink", 1, ())) == RESTART_S
        now[0] += 100.0


def test_what_programs_need_is_made_anew_at_each_start(config):
    places = Places.of(config)
    starting._prepare(places)
    (places.app / "left_by_another_version.py").touch()
    certificate = places.certificate.read_bytes()
    port = starting._prepare(places)
    assert places.read_port() == port
    assert places.certificate.read_bytes() != certificate
    assert sorted(path.name for path in places.app.iterdir()) == ["LICENSE", "pyproject.toml"]
    for path in (places.superlink, places.flower_home, places.nginx, places.runs):
        assert path.stat().st_mode & 0o077 == 0
