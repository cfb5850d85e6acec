"""What `site run` starts, and what it does when a program ends."""

import io
import json
import stat
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from flwr.common.config import parse_config_args

from braing3n.errors import ConfigError, RefusedError, ServiceError
from braing3n.files import locked
from braing3n.service.log import ServiceLog
from braing3n.service.ports import free_port
from braing3n.service.supervisor import Ended
from client.node import running
from client.node.reaching import Server
from client.node.running import LOCK, NOT_KNOWN, Ends, programs, run_site

NOT_TAKEN = "Failed to initialize the connection to the SuperLink.\n[code: 2004] Failed to activate"


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def ends(log, monkeypatch, tmp_path) -> Ends:
    monkeypatch.setattr(running, "fault_of", lambda server: ServiceError(
        "nothing listens there", expected="a", found="b", fix="c"))
    return Ends(Server("127.0.0.1:1", tmp_path / "ca.crt"), ServiceLog("text", log))


def test_neither_secret_nor_token_is_in_a_command_line(joined) -> None:
    site = joined()
    made = programs(site.config, site.path, "127.0.0.1:9", None)
    secret = site.network.path / "superexec.secret"
    assert [one.name for one in made] == ["supernode", "executor"]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    for one in made:
        line = " ".join(one.command)
        assert secret.read_text() not in line
        assert "-P" in one.command  # nothing is imported from the state folder
        assert one.environment["FLWR_HOME"] == str(site.network.path / "flwr")
    assert "--insecure" not in made[0].command
    assert made[0].command[made[0].command.index("--root-certificates") + 1] == str(
        site.network.authority)


def test_the_supernode_is_told_what_it_needs_and_runs_no_task_itself(joined) -> None:
    site = joined(settings='plans: {app_version: ">=0.1,<9"}\n')
    command = programs(site.config, site.path, "fl.example.org:9", "127.0.0.1:9445")[0].command
    told = dict(pairwise(command))
    assert told["client.node.supernode"] == str(site.network.path)
    assert ">=0.1,<9" in command
    assert told["--isolation"] == "process"
    assert told["--superlink"] == "fl.example.org:9"
    assert told["--health-server-address"] == "127.0.0.1:9445"
    assert told["--host"] == "127.0.0.1"
    assert "--health-server-address" not in programs(
        site.config, site.path, "fl.example.org:9", None)[0].command


def test_the_secret_is_another_at_each_start(joined) -> None:
    site = joined()
    secrets = set()
    for _ in range(2):
        programs(site.config, site.path, "127.0.0.1:9", None)
        secrets.add((site.network.path / "superexec.secret").read_bytes())
    assert len(secrets) == 2


@pytest.mark.parametrize("place", [
    "plain", "with blank", "o'clock", 'a"b', "back\\slash", "Klinik-Köln"])
def test_flower_reads_the_path_of_the_settings_as_it_is(joined, place: str) -> None:
    site = joined(place=place)
    command = programs(site.config, site.path, "127.0.0.1:9", None)[0].command
    settings = command[command.index("--node-config") + 1]
    assert parse_config_args([settings]) == {"site-config": str(site.path.resolve())}


def test_an_end_is_explained_and_pauses_grow(ends, log) -> None:
    pauses = [ends.judge(Ended("supernode", 1, ("ERROR: away",))) for _ in range(6)]
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert "nothing listens there" in log.getvalue()


def test_a_server_that_does_not_know_the_key_ends_the_service(ends) -> None:
    with pytest.raises(RefusedError, match="does not take this site's key") as refused:
        ends.judge(Ended("supernode", 1, (NOT_KNOWN,)))
    assert refused.value.exit_code == 3
    assert "revoked" in refused.value.fix


def test_a_site_that_is_not_taken_asks_again_for_a_while(ends, log) -> None:
    for _ in range(3):
        ends.judge(Ended("supernode", 1, tuple(NOT_TAKEN.splitlines())))
    assert "has not taken" in log.getvalue()
    with pytest.raises(RefusedError):
        ends.judge(Ended("supernode", 1, tuple(NOT_TAKEN.splitlines())))


def test_ends_of_long_ago_and_of_the_other_program_do_not_count(ends, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("client.node.running.time.monotonic", lambda: now[0])
    for hour in range(8):
        now[0] = 3600.0 * hour
        assert ends.judge(Ended("executor", -9, ())) == 5
        assert ends.judge(Ended("supernode", -9, ())) == 5


def test_an_executor_that_does_not_stay_up_ends_the_service(ends) -> None:
    for _ in range(3):
        ends.judge(Ended("executor", 1, ("no torch",)))
    with pytest.raises(ServiceError, match="does not stay up") as ended:
        ends.judge(Ended("executor", 1, ("no torch",)))
    assert ended.value.exit_code == 1
    assert "no torch" in ended.value.found


def test_a_server_that_is_none_of_the_consortiums_is_not_dialled(joined) -> None:
    site = joined()
    with pytest.raises(ConfigError, match="none of the consortium's addresses"):
        run_site(site.path, ServiceLog("text", io.StringIO()), wanted="198.51.100.1:9443")


def test_each_address_of_the_consortium_can_be_dialled_and_the_first_is_without_a_word(
    joined, monkeypatch,
) -> None:
    site = joined(names="localhost, 127.0.0.1")
    dialled: list[str] = []

    def away(server: Server) -> None:
        dialled.append(server.address)
        raise ServiceError("away", expected="a", found="b", fix="c")

    monkeypatch.setattr(running, "check_reachable", away)
    port = site.consortium.port
    for wanted in (None, f"127.0.0.1:{port}"):
        with pytest.raises(ServiceError):
            run_site(site.path, ServiceLog("text", io.StringIO()), wanted=wanted)
    assert dialled == [f"localhost:{port}", f"127.0.0.1:{port}"]


@pytest.mark.parametrize("health", ["9445", ":9445", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000",
                                    "127.0.0.1:http", "198.51.100.1:9445"])
def test_health_where_it_cannot_be_served_is_told_before_anything_starts(joined, health) -> None:
    site = joined()
    with pytest.raises(ConfigError, match="health cannot be served"):
        run_site(site.path, ServiceLog("text", io.StringIO()), health=health)


def test_a_second_client_for_a_state_folder_is_refused(joined, monkeypatch) -> None:
    site = joined()
    with locked(site.network.path / LOCK), pytest.raises(ConfigError, match="at work already"):
        run_site(site.path, ServiceLog("text", io.StringIO()))


def test_a_lock_that_is_held_for_an_instant_is_no_second_client(joined, monkeypatch) -> None:
    site = joined()

    def look() -> None:
        with locked(site.network.path / LOCK):
            is_held.set()
            time.sleep(0.3)  # `site status`

    def away(server: Server) -> None:
        raise ServiceError("away", expected="a", found="b", fix="c")

    monkeypatch.setattr(running, "check_reachable", away)
    is_held = threading.Event()
    looking = threading.Thread(target=look)
    looking.start()
    is_held.wait(5)
    with pytest.raises(ServiceError, match="away"):
        run_site(site.path, ServiceLog("text", io.StringIO()))
    looking.join()


def test_a_site_that_has_not_joined_is_told_so(joined) -> None:
    site = joined()
    site.network.answer.unlink()
    with pytest.raises(ConfigError, match="has joined no consortium"):
        run_site(site.path, ServiceLog("text", io.StringIO()))


def test_nothing_is_started_where_the_server_cannot_be_reached(joined, monkeypatch, log) -> None:
    site = joined(port=free_port())
    monkeypatch.setattr(running, "programs", lambda *_: pytest.fail("started"))
    monkeypatch.setattr(running, "check_reachable", lambda server: (_ for _ in ()).throw(
        ServiceError("away", expected="a", found="b", fix="c")))
    with pytest.raises(ServiceError, match="away"):
        run_site(site.path, ServiceLog("json", log))
    assert "holds for" in json.loads(log.getvalue().splitlines()[0])["text"]
    assert Path(site.network.path / LOCK).exists()
