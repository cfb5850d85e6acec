"""Rounds over a real SuperLink with TLS: our payload and programs against plain Flower's.

    python benchmarks/federation.py                 # 1 and 10 MB against plain Flower, interleaved
    python benchmarks/federation.py --large         # ours at 100 and 400 MB too
    python benchmarks/federation.py --sites         # memory of the coordinator at 2 and at 8 sites
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from braing3n.enrolment.node_keys import load_node_key, node_key_text, write_node_key
from braing3n.service.ports import answers, free_port
from braing3n.service.programs import environment, program
from server.network.control import open_control
from server.network.flower_program import ask_flower, run_config
from server.network.loopback import write_loopback_certificate
from server.network.places import LOOPBACK, Places
from simulation.run import PLANS

APPS = Path(__file__).parent / "federation_apps"
TENSORS = 150
DEFINITION = """\
[project]
name = "bench"
version = "0"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "bench"
[tool.flwr.app.components]
serverapp = "{name}:server_app"
clientapp = "{name}:client_app"
[tool.flwr.app.config]
mb = 1.0
arrays = 1
sites = 2
rounds = 1
out = ""
plan = ""
"""


class Bench:
    """One SuperLink, its SuperExec, and sites of one kind."""

    def __init__(self, folder: Path, kind: str, sites: int) -> None:
        self.folder, self.kind, self.num_sites = folder, kind, sites
        self.places = Places(folder)
        self.places.make()
        write_loopback_certificate(self.places, datetime.now(UTC))
        self.port = free_port()
        self.places.write_port(self.port)
        (folder / "secret").write_text("0" * 64)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.peaks: dict[str, float] = {}
        self.own = {**environment(self.places.flower_home),
                    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1" if kind == "ours" else "1.0",
                    "PYTHONPATH": os.pathsep.join([str(APPS), str(Path(__file__).parents[1])])}

    def start(self, name: str, command: list[str], home: Path | None = None) -> None:
        own = self.own if home is None else {**self.own, "FLWR_HOME": str(home)}
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(command, env=own, cwd=self.folder, stdout=log,
                                                    stderr=log, start_new_session=True)

    def up(self) -> None:
        tls = ["--root-certificates", str(self.places.authority)]
        secret = ["--superexec-auth-secret-file", str(self.folder / "secret")]
        self.start("superlink", [
            program("flower-superlink"), "--host", LOOPBACK, "--port", str(self.port),
            "--ssl-ca-certfile", str(self.places.authority), "--ssl-certfile",
            str(self.places.certificate), "--ssl-keyfile", str(self.places.key),
            "--enable-supernode-auth", "--isolation", "process", "--database",
            str(self.places.database), "--disable-runtime-dependency-installation", *secret])
        while not answers(self.port):
            time.sleep(0.5)
        self.start("superexec", [program("flower-superexec"), "--runtime-api-address",
                                 f"{LOOPBACK}:{self.port}", *tls, *secret])
        for number in range(self.num_sites):
            key = self.folder / f"node{number}.key"
            write_node_key(key)
            with open_control(self.places) as control:
                control.register(node_key_text(load_node_key(key).public_key()), f"site{number}")
            home = self.folder / f"home{number}"
            home.mkdir()
            common = ["--superlink", f"{LOOPBACK}:{self.port}", *tls, "--auth-supernode-private-key",
                      str(key), "--host", LOOPBACK, "--port", str(port := free_port())]
            if self.kind == "plain":
                self.start(f"site{number}", [program("flower-supernode"), *common], home)
                continue
            site = [sys.executable, str(APPS / "site.py")]
            self.start(f"site{number}", [*site, "supernode", str(home), *common,
                                         "--isolation", "process", *secret], home)
            self.start(f"executor{number}", [*site, "executor", "--insecure", "--runtime-api-address",
                                             f"{LOOPBACK}:{port}", *secret], home)

    def run(self, mb: float, rounds: int) -> list[float]:
        """Run rounds and return the seconds of each."""
        out = self.folder / f"{self.kind}-{mb}-{time.monotonic_ns()}.txt"
        app = self.folder / f"app-{out.stem}"
        app.mkdir()
        shutil.copy(APPS / f"{self.kind}.py", app)
        (app / "pyproject.toml").write_text(DEFINITION.format(name=self.kind))
        config = run_config({"out": str(out), "plan": str(PLANS / "demo.yaml")})
        config += f" mb={float(mb)} arrays={TENSORS} sites={self.num_sites} rounds={rounds}"
        run = str(ask_flower(("run", str(app), "--run-config", config), self.own, self.folder,
                             str(self.folder))["run-id"])
        while True:
            time.sleep(1)
            self.look()
            with open_control(self.places) as control:
                if not control.runs()[int(run)].is_alive:
                    break
        found = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        if len(found) != rounds:
            sys.exit(f"{self.kind} at {mb} MB: {len(found)} of {rounds} rounds; see {self.folder}")
        return found

    def look(self) -> None:
        """Take the largest memory of each kind of process."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                mark = f"FLWR_HOME={self.folder}".encode()
                if mark not in (folder / "environ").read_bytes():
                    continue
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                text = (folder / "status").read_text()
                peak = int(text.partition("VmHWM:")[2].split()[0]) / 1024
                kind = next((kind for kind, part in (
                    ("SuperLink", "flower-superlink"), ("ServerApp", "flwr-serverapp"),
                    ("ClientApp", "flwr-clientapp"), ("ClientApp", "multiprocessing.forkserver"),
                    ("SuperNode", "flower-supernode"), ("SuperNode", "site.py supernode"))
                    if part in command), None)
                if kind:
                    self.peaks[kind] = max(self.peaks.get(kind, 0.0), peak)

    def down(self) -> None:
        for process in reversed(self.processes.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)


@contextlib.contextmanager
def bench(kind: str, sites: int = 2) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix=f"bench-{kind}-", ignore_cleanup_errors=True) as name:
        made = Bench(Path(name), kind, sites)
        try:
            made.up()
            yield made
        finally:
            made.down()


def against_plain(rounds: int) -> None:
    with bench("plain") as plain, bench("ours") as ours:
        for mb in (1, 10):
            seconds: dict[str, list[float]] = {"plain": [], "ours": []}
            for _ in range(2):  # interleaved; the first round of a run fetches the bundle
                for one in (plain, ours):
                    seconds[one.kind] += one.run(mb, rounds + 1)[1:]
            a, b = (statistics.median(each) for each in seconds.values())
            print(f"{mb} MB, 2 sites: ours {b:.2f} s a round, plain FedAvg ({TENSORS} arrays) {a:.2f} "
                  f"s, ratio {a / b:.1f}; {4 * mb} MB a round, both ways", flush=True)
        print("peak MB plain:", {k: round(v) for k, v in plain.peaks.items()}, "ours:",
              {k: round(v) for k, v in ours.peaks.items()}, flush=True)


def large(rounds: int) -> None:
    for mb in (100, 400):
        with bench("ours") as ours:
            found = ours.run(mb, rounds + 1)[1:]
            print(f"{mb} MB, 2 sites: ours {statistics.median(found):.1f} s a round; peak MB",
                  {k: round(v) for k, v in ours.peaks.items()}, flush=True)


def many_sites(rounds: int) -> None:
    for sites in (2, 8):
        with bench("ours", sites) as ours:
            found = ours.run(100, rounds)
            print(f"100 MB, {sites} sites: {statistics.median(found):.1f} s a round; peak MB",
                  {k: round(v) for k, v in ours.peaks.items()}, flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--large", action="store_true")
    options.add_argument("--sites", action="store_true")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    if given.large:
        large(given.rounds)
    elif given.sites:
        many_sites(given.rounds)
    else:
        against_plain(given.rounds)
