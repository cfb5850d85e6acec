"""Whatever is killed, whenever: no finished round is lost, and nothing is charged twice."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from braing3n.privacy.ledger import load_history

ROUNDS = 3
PROCESSES = ("superlink", "superexec", "serverapp", "nginx", "server", "supernode", "executor", "task",
             "site")
MOMENTS = ("before", "during", "after")
# In a usual run of these tests; `-m ""` with BRAING3N_KILL_MATRIX=all takes all of them.
SOME = {("supernode", "during"), ("task", "during"), ("server", "after")}
TAKES_ALL = os.environ.get("BRAING3N_KILL_MATRIX") == "all"
CASES = [pytest.param(process, moment, id=f"{process}-{moment}") for process in PROCESSES
         for moment in MOMENTS if TAKES_ALL or (process, moment) in SOME]

PLAN = """\
name: kills
preset: nano
min_sites: 2
round_timeout_s: 400
last_stage: pretrain
budget: {epsilon: 1000000, num_subjects: 5}
stages:
  pretrain:
    rounds: 3
    local_steps: 14
    batch_size: 2
    optimizer: {learning_rate: 1e-3}
    PRIVACY
  decoder:
    {rounds: 1, local_steps: 1, batch_size: 2, optimizer: {learning_rate: 1e-2}}
  diffusion:
    {rounds: 1, local_steps: 1, batch_size: 2, optimizer: {learning_rate: 5e-3}}
"""
NOISED = "privacy: {clip_norm: 1.0, noise_multiplier: 1.5, sample_rate: 0.4, views: 2}"


def begin(made: Any, cohort: Path, *, epsilon: float) -> Any:
    """Start a server and two sites, with a budget or without one."""
    for name in ("site-a", "site-b"):
        made.make_site(name, cohort / name, "--epsilon", str(epsilon))
        made.site(name).write_text(
            made.site(name).read_text().replace("min_subjects: 50", "min_subjects: 1"))
        made.enrol(name)
    made.start_server()
    for name in ("site-a", "site-b"):
        made.start_site(name)
    made.wait_online("site-a", "site-b")
    (made.folder / "plan.yaml").write_text(PLAN.replace("PRIVACY", NOISED if epsilon else ""))
    for name in ("site-a", "site-b"):
        made.run("site", "approve", made.site(name), made.folder / "plan.yaml", "--yes")
    return made


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path,
          new_consortium: Callable[[Path], Any]) -> Iterator[Any]:
    """Two sites without a budget, and what comes of a run that nothing happens to."""
    made = begin(new_consortium(tmp_path_factory.mktemp("exact")), phantom_cohort, epsilon=0)
    made.submit(made.folder / "plan.yaml", "whole")
    assert made.follow("whole") == "completed"
    yield made
    made.end_all()


def record(made: Any, name: str) -> dict[str, Any]:
    path = made.folder / name / "run.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def rounds_done(made: Any, name: str) -> int:
    stages = record(made, name).get("stages") or [{}]
    return len(stages[0].get("participation", ()))


def is_training(made: Any, name: str, number: int) -> bool:
    """Return whether site-a is in the middle of a round of this run."""
    path = made.folder / "site-a/state/progress.json"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return (rounds_done(made, name) == number - 1 and found.get("round") == number
            and found.get("doing") == "training" and time.time() - found["time"] < 2)


def wait_for(made: Any, name: str, moment: str) -> None:
    """Wait for the moment: before the first round is at work, within the second, after the second."""
    conditions = {"before": lambda: bool(record(made, name).get("sites")),
                  "during": lambda: is_training(made, name, 2),
                  "after": lambda: rounds_done(made, name) >= 2}
    deadline = time.monotonic() + 180
    while not conditions[moment]():
        assert time.monotonic() < deadline, made.log("server")[-3000:]
        time.sleep(0.05)


def kill(made: Any, process: str) -> None:
    """Kill one process, and start ours again, as a service manager does."""
    pids = made.pids(process)
    deadline = time.monotonic() + 20
    while not pids and time.monotonic() < deadline:  # a task is there only while it works
        time.sleep(0.02)
        pids = made.pids(process)
    assert pids, process
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    if process == "server":
        made.started["server"].wait(20)
        time.sleep(5)
        made.start("server", "server", "start", made.settings)
    if process == "site":
        made.started["site-a"].wait(20)
        time.sleep(10)  # RestartSec of docs/deploy/systemd/braing3n-site.service
        made.start_site("site-a")


def check_whole(made: Any, name: str) -> dict[str, Any]:
    """Hold a run to one that nothing happened to: all rounds, each once, by both sites."""
    found = record(made, name)
    assert found["status"] == "completed", found["status"]
    rounds = found["stages"][0]["participation"]
    assert [entry["round"] for entry in rounds] == list(range(1, ROUNDS + 1))
    assert all(entry["answered"] == ["site-a", "site-b"] for entry in rounds)
    return found


@pytest.mark.parametrize(("process", "moment"), CASES)
def test_a_killed_process_costs_no_round_and_no_bit(exact: Any, process: str, moment: str) -> None:
    name = f"{process}-{moment}"
    exact.submit(exact.folder / "plan.yaml", name)
    wait_for(exact, name, moment)
    kill(exact, process)
    assert exact.follow(name, timeout_s=500) == "completed"
    found = check_whole(exact, name)
    assert found["encoder_digest"] == record(exact, "whole")["encoder_digest"]


@pytest.mark.skipif(not TAKES_ALL, reason="takes a minute; BRAING3N_KILL_MATRIX=all has it")
def test_a_partition_of_a_minute_costs_no_round_and_no_bit(exact: Any) -> None:
    exact.submit(exact.folder / "plan.yaml", "partition")
    wait_for(exact, "partition", "during")
    proxies = exact.pids("nginx")
    for pid in proxies + [pid for pid, _ in children_of(proxies)]:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(60)
    for pid in proxies + [pid for pid, _ in children_of(proxies)]:
        os.kill(pid, signal.SIGCONT)
    assert exact.follow("partition", timeout_s=500) == "completed"
    found = check_whole(exact, "partition")
    assert found["encoder_digest"] == record(exact, "whole")["encoder_digest"]


def children_of(pids: list[int]) -> list[tuple[int, str]]:
    """Return the processes whose parent is one of these."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent in pids:
            found.append((int(folder.name), ""))
    return found


@pytest.fixture(scope="module")
def noised(tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path,
           new_consortium: Callable[[Path], Any]) -> Iterator[Any]:
    """Two sites with a budget."""
    made = begin(new_consortium(tmp_path_factory.mktemp("noised")), phantom_cohort, epsilon=1000000.0)
    yield made
    made.end_all()


@pytest.mark.parametrize(("process", "moment"), [
    case for case in CASES if TAKES_ALL or case.values == ("task", "during")])
def test_a_killed_process_costs_no_epsilon(noised: Any, process: str, moment: str) -> None:
    name = f"{process}-{moment}"
    noised.submit(noised.folder / "plan.yaml", name)
    wait_for(noised, name, moment)
    kill(noised, process)
    assert noised.follow(name, timeout_s=500) == "completed"
    run = check_whole(noised, name)["id"]
    for site in ("site-a", "site-b"):
        history = load_history(noised.folder / site / "state")
        charged = [(entry.kind, entry.what, entry.round_index) for entry in history.entries
                   if entry.run == run and entry.kind in ("reserve", "settle")]
        assert sorted(charged) == sorted(
            (kind, "update", number) for kind in ("reserve", "settle") for number in range(ROUNDS))
