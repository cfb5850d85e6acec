"""A consortium of real processes on loopback, started through our own commands only."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from braing3n.service.ports import free_port

PROGRAM = Path(sys.executable).parent / "braing3n"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

PLAN = """\
name: trial
preset: nano
min_sites: {min_sites}
round_timeout_s: {timeout_s}
stages:
  pretrain:
    {{rounds: {rounds}, local_steps: 3, batch_size: 2, optimizer: {{learning_rate: 4e-3}}}}
  decoder:
    {{rounds: 1, local_steps: 2, batch_size: 2, optimizer: {{learning_rate: 1e-2}}}}
  diffusion:
    {{rounds: 2, local_steps: 2, batch_size: 2, optimizer: {{learning_rate: 5e-3}}, sampling_steps: 3}}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here start servers: `make test-deployment` runs them, and `make test-all`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@dataclass
class Consortium:
    """Commands and processes of one consortium, in one folder.

    Attributes:
        folder: Everything is in it.
        environment: Of all processes.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    port: int = field(default_factory=free_port)
    started: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def settings(self) -> Path:
        """The consortium's YAML."""
        return self.folder / "consortium.yaml"

    def site(self, name: str) -> Path:
        """Return a site's YAML."""
        return self.folder / name / "site.yaml"

    def run(self, *arguments: str | Path, code: int | None = 0, timeout_s: float = 120,
            ) -> subprocess.CompletedProcess[str]:
        """Run one of our commands and hold it to its exit code."""
        done = subprocess.run([PROGRAM, *map(str, arguments)], text=True, capture_output=True,
                              check=False, cwd=self.folder, env=self.environment, timeout=timeout_s)
        assert code is None or done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def init(self) -> None:
        """Begin the consortium."""
        self.settings.write_text(f"name: trial\nnames: [127.0.0.1]\nport: {self.port}\n"
                                 "state_dir: coordinator\n")
        self.run("server", "init", self.settings)

    def make_site(self, name: str, data: Path, *options: str) -> None:
        """Write a site's settings and make its keys."""
        (self.folder / name).mkdir()
        self.run("site", "init", self.site(name), "--name", name, "--folder", data, "--state-dir",
                 "state", "--epsilon", "0", "--threads", "1", *options)
        self.run("site", "keygen", self.site(name))

    def make_real_and_phantom_sites(self, test_data: Path, phantom: Path) -> tuple[str, ...]:
        """Make three sites: the two hospitals of the mini-cohort, and one with synthetic scans."""
        for name in ("site-nsk", "site-hh"):
            self.make_site(name, self._few_subjects(test_data / "nifti/minicohort" / name))
        self.make_site("phantom", phantom / "site-a")
        return ("phantom", "site-hh", "site-nsk")

    def _few_subjects(self, source: Path, number: int = 6) -> Path:
        """Return a BIDS folder with the first subjects of another."""
        folder = self.folder / "data" / source.name
        folder.mkdir(parents=True)
        for name in ("dataset_description.json", "participants.tsv"):
            shutil.copy(source / name, folder / name)
        for subject in sorted(source.glob("sub-*"))[:number]:
            (folder / subject.name).symlink_to(subject)
        return folder

    def enrol(self, name: str, *options: str) -> None:
        """Have a site join."""
        folder = self.folder / name
        for old in ("request.json", "answer.json"):
            (folder / old).unlink(missing_ok=True)
        self.run("site", "request", self.site(name), "--out", folder / "request.json")
        self.run("server", "enrol", self.settings, folder / "request.json", "--out",
                 folder / "answer.json", "--yes", *options)
        self.run("site", "accept", self.site(name), folder / "answer.json", "--yes")

    def start(self, name: str, *arguments: str | Path) -> "subprocess.Popen[bytes]":
        """Start one of our foreground programs; its log goes to NAME.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                [PROGRAM, *map(str, arguments)], cwd=self.folder, env=self.environment, stdout=log,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        return self.started[name]

    def start_server(self) -> None:
        """Start the server, and wait until sites would be answered."""
        self.start("server", "server", "start", self.settings)
        self.wait("the server to answer", lambda: self.status()["is_well"])

    def start_site(self, name: str) -> None:
        """Start a site's client."""
        self.start(name, "site", "run", self.site(name))

    def wait_online(self, *names: str, timeout_s: float = 90) -> None:
        """Wait until sites are connected."""
        self.wait(f"{', '.join(names)} to be online",
                  lambda: all(self.status()["sites"].get(name) == "online" for name in names),
                  timeout_s)

    def status(self) -> dict[str, Any]:
        """Return what `server status` says."""
        found: dict[str, Any] = json.loads(
            self.run("server", "status", self.settings, "--json", code=None).stdout)
        return found

    def log(self, name: str) -> str:
        """Return what a program has printed so far."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def write_plan(self, *, rounds: int = 2, min_sites: int = 2, timeout_s: int = 300) -> Path:
        """Write a small plan, and have all sites approve it."""
        path = self.folder / "plan.yaml"
        path.write_text(PLAN.format(rounds=rounds, min_sites=min_sites, timeout_s=timeout_s))
        for settings in sorted(self.folder.glob("*/site.yaml")):
            self.run("site", "approve", settings, path, "--yes")
        return path

    def submit(self, plan: Path, name: str = "trial") -> Path:
        """Order a run, and return its folder."""
        self.run("server", "submit", self.settings, plan, "--name", name, "--out", self.folder / name)
        return self.folder / name

    def follow(self, name: str = "trial", *, code: int | None = 0, timeout_s: float = 420) -> str:
        """Wait until a run is over, and return how it ended."""
        try:
            done = self.run("server", "follow", self.settings, name, code=code, timeout_s=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{name} is not over:\n" + self.log("server")[-4000:]) from error
        return done.stdout.strip()

    def wait(self, what: str, is_so: Callable[[], bool], timeout_s: float = 60) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() > deadline:
                logs = "\n".join(f"== {name}\n{self.log(name)[-2500:]}" for name in self.started)
                raise AssertionError(f"waited {timeout_s} s for {what}\n{logs}")
            time.sleep(0.5)

    def pids(self, what: str, site: str = "site-a") -> list[int]:
        """Return the processes of one kind that are there now.

        Args:
            what: `superlink`, `superexec`, `nginx` (the master), `serverapp`, `supernode`,
                `executor`, `task` (a ClientApp at work), `server` or `site` (our own programs).
            site: For those of a site.
        """
        if what in ("server", "site"):
            return [self.started["server" if what == "server" else site].pid]
        owner = "server" if what in ("superlink", "superexec", "nginx", "serverapp") else site
        family = list(descendants(self.started[owner].pid))
        marks = {"superlink": "flower-superlink", "superexec": "flower-superexec",
                 "nginx": "nginx: master", "serverapp": "flwr-serverapp",
                 "supernode": "client.node.supernode", "executor": "client.node.executor"}
        if what != "task":
            return [pid for pid, command in family if marks[what] in command]
        # A task is forked by a server of processes, whose command line it shares.
        forked = {pid for pid, command in family if "multiprocessing.forkserver" in command}
        return [pid for pid in forked if parent_of(pid) in forked]

    def end(self, name: str, sign: signal.Signals = signal.SIGTERM) -> int:
        """End one of the programs that were started, and return its exit code."""
        process = self.started.pop(name)
        process.send_signal(sign)
        return process.wait(60)

    def end_all(self) -> None:
        """End everything that is left."""
        for process in self.started.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.started.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        self.started.clear()


def parent_of(pid: int) -> int:
    """Return a process's parent; 0 where it is gone."""
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Yield all processes below one, with their command lines."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        children.setdefault(parent_of(int(folder.name)), []).append(int(folder.name))
    waiting = list(children.get(pid, ()))
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, ())
        try:
            command = (Path("/proc") / str(one) / "cmdline").read_bytes()
        except OSError:
            continue
        yield one, command.replace(b"\0", b" ").decode(errors="replace")


@pytest.fixture(scope="session")
def new_consortium() -> Iterator[Callable[[Path], Consortium]]:
    """Begin consortia in folders; whatever is started in them is ended with the session."""
    if NGINX is None:
        pytest.skip("no nginx: install nginx-light")
    made: list[Consortium] = []

    def begin(folder: Path) -> Consortium:
        made.append(Consortium(folder))
        made[-1].init()
        return made[-1]

    yield begin
    for one in made:
        one.end_all()


@pytest.fixture
def consortium(tmp_path: Path, new_consortium: Callable[[Path], Consortium]) -> Iterator[Consortium]:
    """An empty consortium; whatever is started in it is ended with the test."""
    made = new_consortium(tmp_path)
    yield made
    made.end_all()
