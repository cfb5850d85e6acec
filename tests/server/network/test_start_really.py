"""`braing3n server start` with Flower's real programs and nginx, on loopback."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from braing3n.enrolment.certificates import new_key
from braing3n.enrolment.request import make_request
from braing3n.service.ports import free_port
from braing3n.service.programs import environment, program
from braing3n.signing import SigningKey
from server import enrolling
from server.authority import initialise
from server.consortium import load_consortium
from server.network.places import Places

BRAING3N = str(Path(sys.executable).parent / "braing3n")


def wait_until(is_so, timeout_s, log):
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.3)


def processes_of(folder):
    """Command lines of the processes that name a folder."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found[int(path.parent.name)] = line
    return found


class Server:
    """A server at work, its settings and its log."""

    def __init__(self, folder):
        self.settings, self.log = folder / "consortium.yaml", folder / "server.log"
        self.settings.write_text(
            f"name: demo\nnames: [127.0.0.1]\nport: {free_port()}\nstate_dir: state\n")
        self.config = load_consortium(self.settings)
        initialise(self.config, datetime.now(UTC))
        self.places = Places.of(self.config)
        self.health = f"127.0.0.1:{free_port()}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [BRAING3N, "server", "start", self.settings, "--log-format", "json", "--health",
                 self.health], stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def status(self):
        """What `server status` says, and its exit code."""
        done = subprocess.run([BRAING3N, "server", "status", self.settings, "--json"], check=False,
                              capture_output=True, text=True)
        return json.loads(done.stdout), done.returncode

    def is_well(self):
        return self.status()[1] == 0

    def pid(self, name):
        """The process of a program that was started last."""
        return int(re.findall(rf"started {name}, process (\d+)", self.log.read_text())[-1])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:/sbin") is None:
        pytest.skip("nginx is not installed: `apt install nginx-light`")
    made = Server(tmp_path_factory.mktemp("server"))
    wait_until(made.is_well, 40, made.log)
    yield made
    if made.process.poll() is None:
        made.process.terminate()
        made.process.wait(60)
    for pid in processes_of(made.config.state_dir):
        os.kill(pid, signal.SIGKILL)


def ask_flower(port, authority, home, *arguments):
    """Ask with Flower's own program, as whoever has a CA's file might, and return its answer."""
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "it"\n\n[superlink.it]\naddress = "127.0.0.1:{port}"\n'
        f'root-certificates = "{authority}"\n')
    done = subprocess.run([program("flwr"), *arguments, "--format", "json"], check=False, text=True,
                          capture_output=True, env=environment(home), cwd=home, timeout=60)
    return json.loads(done.stdout)


def test_it_says_that_it_is_at_work_and_that_sites_are_answered(server):
    found, code = server.status()
    assert code == 0
    assert (found["is_started"], found["is_reachable"], found["is_well"]) == (True, True, True)
    assert found["certificates"]["server"]["days_left"] > 300


def test_its_log_is_one_json_object_a_line(server):
    told = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {"server", "service", "superlink", "superexec"} <= {one["source"] for one in told}
    assert not [one for one in told if one["level"] == "error"]


def test_superlink_listens_on_loopback_alone(server):
    ports = {server.places.read_port(), int(server.health.rpartition(":")[2])}
    open_ones = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, port = local.rpartition(":")
            if state == "0A" and int(port, 16) in ports:
                open_ones.add(int(port, 16))
                assert address in ("0100007F", "0000000000000000FFFF00000100007F"), local
    assert open_ones == ports


def test_keys_and_weights_that_are_under_way_are_for_their_owner_alone(server):
    found = [server.places.key, *server.places.superlink.glob("state.db*")]
    assert server.places.database in found
    for path in (server.places.superlink, server.places.flower_home, server.places.nginx, *found):
        assert path.stat().st_mode & 0o077 == 0, path


def test_health_answers_by_the_standard_protocol(server):
    with grpc.insecure_channel(server.health) as channel:
        found = HealthStub(channel).Check(HealthCheckRequest(), timeout=10)
    assert found.status == HealthCheckResponse.SERVING


def test_a_second_server_is_refused(server):
    done = subprocess.run([BRAING3N, "server", "start", server.settings], check=False,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "a server is at work already" in done.stderr


def test_a_site_that_is_enrolled_meanwhile_may_connect_within_seconds(server, tmp_path):
    now = datetime.now(UTC)
    asked = make_request("hospital-a", node_key=new_key(), version="0.1.0", now=now,
                         ledger_key=SigningKey(Ed25519PrivateKey.generate()))
    entry = enrolling.check_enrolment(server.config, asked, replaces_key=False)
    enrolling.enrol(server.config, entry, tmp_path / "answer.json", now, replaces_key=False)
    wait_until(lambda: server.status()[0]["sites"] == {"hospital-a": "registered"}, 10, server.log)
    assert list(json.loads(server.places.nodes.read_text()).values()) == ["hospital-a"]


def test_the_bare_port_is_of_another_ca_than_sites_have(server):
    context = ssl.create_default_context(cafile=str(server.config.ca_certificate))
    with (socket.create_connection(("127.0.0.1", server.places.read_port()), 10) as plain,
          pytest.raises(ssl.SSLCertVerificationError)):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_the_proxy_takes_no_orders_from_who_has_the_cas_file(server, tmp_path):
    done = ask_flower(server.config.port, server.config.ca_certificate, tmp_path, "ls")
    assert not done["success"]
    assert "403" in done["error-message"]
    own = ask_flower(server.places.read_port(), server.places.authority, tmp_path, "ls")
    assert own["success"]  # the question was a good one


def test_superlink_is_started_again_where_it_was_killed(server):
    before = server.pid("superlink")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: server.pid("superlink") != before and server.is_well(), 30, server.log)
    assert server.status()[0]["sites"] == {"hospital-a": "registered"}


def test_told_to_stop_it_ends_all_that_it_started_and_then_itself(server):
    assert len(processes_of(server.config.state_dir)) >= 3
    server.process.terminate()
    assert server.process.wait(60) == 0
    assert processes_of(server.config.state_dir) == {}
    found, code = server.status()
    assert (found["is_started"], code) == (False, 1)
