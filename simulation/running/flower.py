"""A run on Flower's own simulation runtime, isolated from whatever else Flower runs here.

`flwr run` by itself starts a SuperLink that stays, is shared by all projects, and puts its own
working directory first on the path of the Ray workers: it has silently run another project's code.
So a SuperLink of our own is started in an empty directory with its own FLWR_HOME, without network,
and ended with the run.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braing3n.errors import RunFailedError
from braing3n.service.ports import free_port
from braing3n.service.processes import end_left_over
from braing3n.service.programs import environment, program
from server.network.bundle import copy_bundle
from server.network.flower_program import ask_flower
from server.network.flower_program import run_config as as_text
from simulation.running.parallel import Capacity

START_TIMEOUT_S = 60.0
POLL_S = 1.0
# Unanswered questions in a row after which a run is given up; a busy machine misses one.
MAX_UNANSWERED = 3
# Asking Flower starts its command-line program: two seconds of a core, which sites train on.
ASK_EVERY_S = 20.0


@dataclass(frozen=True)
class SuperLink:
    """A running SuperLink of ours.

    Attributes:
        folder: Its empty working directory, which holds FLWR_HOME.
        log: What it and its apps printed.
        environment: For Flower's commands.
    """

    folder: Path
    log: Path
    environment: dict[str, str]

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run `flwr` with JSON output and return it.

        Raises:
            RunFailedError: The command failed or printed something else.
        """
        return ask_flower(arguments, self.environment, self.folder, str(self.log))


@contextlib.contextmanager
def open_superlink(folder: Path, ray_address: str | None = None) -> Iterator[SuperLink]:
    """Start a SuperLink in an empty directory, and end it with all that it started.

    An existing Ray cluster is not started here, and so not ended.

    Raises:
        RunFailedError: It does not answer.
    """
    home, place = home_of(folder), folder / "superlink"
    home.mkdir(parents=True)
    port = free_port()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "own"\n\n[superlink.own]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n"
    )
    link = SuperLink(place, log_of(folder), simulation_environment(home))
    if ray_address is not None:
        link.environment["RAY_ADDRESS"] = ray_address
    with link.log.open("wb") as stream:
        process = subprocess.Popen(
            [program("flower-superlink"), "--insecure", "--simulation", "--host", "127.0.0.1",
             "--port", str(port), "--disable-runtime-dependency-installation"],
            cwd=place, env=link.environment, stdout=stream, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )
    try:
        _wait_for(port, process, link.log)
        yield link
    finally:
        _end(process)
        end_left_over(home)


def home_of(folder: Path) -> Path:
    """Return the FLWR_HOME of a run in `folder`, by which its processes are told."""
    return folder / "superlink" / "flwr-home"


def log_of(folder: Path) -> Path:
    """Return what the SuperLink of a run in `folder` and its apps print."""
    return folder / "superlink" / "superlink.log"


def simulation_environment(home: Path) -> dict[str, str]:
    """Return the environment for Flower's programs and Ray's."""
    kept = environment(home)
    kept.pop("RAY_ADDRESS", None)
    return {
        **kept,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # Ray's own is 15: beside other work, sites then starve. Who wants that calls us with `nice`.
        "RAY_worker_niceness": kept.get("RAY_worker_niceness", "0"),
    }


def run_on_flower(
    folder: Path, run_config: dict[str, str], num_sites: int, capacity: Capacity,
    on_poll: Callable[[], bool],
) -> None:
    """Submit a run, wait until it is over, and raise unless it ended well.

    Flower calls a run completed in which every client failed, and `flwr run --stream` exits 0 on a
    failed one, so the status is asked for; whether sites were lost is in run.json.

    Args:
        folder: An empty directory for the SuperLink.
        run_config: Flower run config.
        num_sites: Simulated nodes.
        capacity: How many of them work at once, and where.
        on_poll: Called about once a second; returns whether the run seems to be over, which
            Flower is then asked about at once.

    Raises:
        RunFailedError: Flower says that the run failed.
    """
    app = copy_bundle(folder / "app")
    with open_superlink(folder, capacity.ray_address) as link:
        run_id = str(link.command(
            "run", str(app), "--run-config", as_text(run_config), "--federation-config",
            f"num-supernodes={num_sites} {capacity.as_federation_config()}",
        )["run-id"])
        try:
            status = _wait_until_over(link, run_id, on_poll)
        except BaseException:
            with contextlib.suppress(RunFailedError):
                link.command("stop", run_id)
            raise
        if status != "finished:completed":
            raise RunFailedError("the run failed", expected="finished:completed", found=status,
                                 fix=f"the end of {link.log} says:\n{tail(link.log)}")


def _wait_until_over(link: SuperLink, run_id: str, on_poll: Callable[[], bool]) -> str:
    asked = time.monotonic()
    unanswered = 0
    while True:
        time.sleep(POLL_S)
        if not on_poll() and time.monotonic() - asked < ASK_EVERY_S:
            continue
        asked = time.monotonic()
        try:
            status = str(link.command("ls", "--run-id", run_id)["runs"][0]["status"])
        except RunFailedError:
            unanswered += 1
            if unanswered == MAX_UNANSWERED:
                raise
            continue
        unanswered = 0
        if status.startswith("finished"):
            return status


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.2)
    raise RunFailedError("Flower's SuperLink does not start",
                         expected=f"an answer on 127.0.0.1:{port} in {START_TIMEOUT_S:.0f} s",
                         found="none", fix=f"the end of {log} says:\n{tail(log)}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the SuperLink's process group: it, the simulation, Ray."""
    for sign, wait_s in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a text file."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
