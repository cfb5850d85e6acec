"""`braing3n site run` against Flower's own SuperLink with TLS, on loopback."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from braing3n.service.programs import environment, program
from server.network.places import LOOPBACK

BRAING3N = str(Path(sys.executable).parent / "braing3n")
LIMIT_S = 90.0

pytestmark = pytest.mark.slow


def wait_until(is_so: Callable[[], bool], log: Path, timeout_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        time.sleep(0.2)


class SuperLink:
    """Flower's server with the consortium's certificate, straight at the consortium's port."""

    def __init__(self, consortium: Any, folder: Path) -> None:
        self.consortium, self.folder = consortium, folder
        self.home = folder / "flwr"
        self.home.mkdir(parents=True)
        self.log = folder / "superlink.log"
        (self.home / "config.toml").write_text(
            f'[superlink]\ndefault = "it"\n\n[superlink.it]\naddress = "{LOOPBACK}:{consortium.port}"\n'
            f'root-certificates = "{consortium.ca_certificate}"\n')
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [program("flower-superlink"), "--host", LOOPBACK, "--port", str(consortium.port),
                 "--ssl-ca-certfile", consortium.ca_certificate, "--ssl-certfile",
                 consortium.server_certificate, "--ssl-keyfile", consortium.server_key,
                 "--enable-supernode-auth", "--isolation", "process", "--superexec-auth-secret-file",
                 consortium.superexec_secret, "--disable-runtime-dependency-installation"],
                env=environment(self.home), cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: "Uvicorn running" in self.log.read_text(), self.log)

    def ask(self, *arguments: str | Path) -> dict[str, Any]:
        done = subprocess.run([program("flwr"), *map(str, arguments), "--format", "json"], check=False,
                              text=True, capture_output=True, env=environment(self.home),
                              cwd=self.folder, timeout=60)
        found: dict[str, Any] = json.loads(done.stdout)
        assert found["success"], done
        return found

    def register(self, site: Any) -> int:
        return int(self.ask("supernode", "register", site.network.node_public)["node-id"])

    @property
    def statuses(self) -> list[str]:
        return [one["status"] for one in self.ask("supernode", "list")["nodes"]]

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


class SiteRun:
    """`braing3n site run`, and what it prints."""

    def __init__(self, site: Any, *options: str) -> None:
        self.site, self.log = site, site.path.parent / "run.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen([BRAING3N, "site", "run", str(site.path), *options],
                                            stdout=log, stderr=subprocess.STDOUT)

    @property
    def text(self) -> str:
        return self.log.read_text()

    def status(self) -> tuple[dict[str, Any], int]:
        done = subprocess.run([BRAING3N, "site", "status", str(self.site.path), "--json"], check=False,
                              text=True, capture_output=True)
        return json.loads(done.stdout), done.returncode

    def pid(self, name: str) -> int:
        return int(re.findall(rf"started {name}, process (\d+)", self.text)[-1])

    def connections(self) -> int:
        return self.text.count("SuperNode ID:")

    def ended(self, timeout_s: float = LIMIT_S) -> int:
        return self.process.wait(timeout_s)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(45)


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Start programs that are ended with the test."""
    started: list[Any] = []

    def begin(kind: Any, *arguments: Any) -> Any:
        started.append(kind(*arguments))
        return started[-1]

    yield begin
    for one in reversed(started):
        one.end()


def test_a_site_gets_online_works_on_after_kills_and_leaves_when_told(start, joined, tmp_path) -> None:
    site = joined()
    link = start(SuperLink, site.consortium, tmp_path / "link")
    link.register(site)
    run = start(SiteRun, site, "--log-format", "json")
    wait_until(lambda: run.connections() == 1, run.log)
    assert link.statuses == ["online"]
    wait_until(lambda: run.status()[1] == 0, run.log, 20)
    found, _ = run.status()
    assert (found["is_started"], found["is_connected"]) == (True, True)

    second = start(SiteRun, site)
    assert second.ended(30) == 2
    assert "is at work already" in second.text

    os.kill(run.pid("supernode"), signal.SIGKILL)
    wait_until(lambda: run.connections() == 2, run.log)
    assert link.statuses == ["online"]

    run.process.send_signal(signal.SIGTERM)
    assert run.ended(45) == 0
    assert link.statuses == ["offline"]
    assert run.status()[1] == 1
    for line in run.text.splitlines():  # the second one's error is text
        assert line.startswith(("{", "error:", "  "))


def test_a_key_that_the_server_does_not_know_ends_with_3(start, joined, tmp_path) -> None:
    site = joined()
    start(SuperLink, site.consortium, tmp_path / "link")
    run = start(SiteRun, site)
    assert run.ended() == 3
    assert "revoked" in run.text


def test_a_key_that_is_shut_out_ends_with_3_and_a_server_that_forgot_its_number_does_not(
    start, joined, tmp_path,
) -> None:
    site = joined()
    first = start(SuperLink, site.consortium, tmp_path / "link")
    first.register(site)
    run = start(SiteRun, site)
    wait_until(lambda: run.connections() == 1, run.log)
    first.end()
    # Another state: the same key has another number now.
    second = start(SuperLink, site.consortium, tmp_path / "other")
    node = second.register(site)
    wait_until(lambda: run.connections() == 2, run.log)
    second.ask("supernode", "unregister", str(node))
    assert run.ended() == 3
    assert "revoked" in run.text
