"""On a Ray cluster that is there already."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from braing3n.errors import ConfigError
from braing3n.service.ports import free_port
from braing3n.service.processes import processes_of
from braing3n.service.programs import program
from simulation.running import cluster
from simulation.running.cluster import check_cluster
from simulation.running.flower import simulation_environment

MARK = "BRAING3N_TEST_CLUSTER"
PROGRAM = Path(sys.executable).parent / "braing3n"


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "nowhere", "http://x:1"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        check_cluster(address)


def test_where_nobody_listens_there_is_a_clear_error_within_a_minute(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CLUSTER_TIMEOUT_S", 15.0)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="no Ray cluster answers at"):
        check_cluster(f"127.0.0.1:{free_port()}")
    assert time.monotonic() - began < 60


def test_a_ray_address_in_the_users_environment_is_not_taken_by_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    assert "RAY_ADDRESS" not in simulation_environment(tmp_path)


@pytest.fixture
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Ray head on loopback, ended by what its processes inherited."""
    folder, port = tmp_path_factory.mktemp("ray"), free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    subprocess.run(
        [program("ray"), "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}",
         "--include-dashboard=false", "--disable-usage-stats", "--num-cpus=2", f"--temp-dir={folder}"],
        env={**kept, MARK: str(folder), "RAY_worker_niceness": "0"},
        check=True, capture_output=True, timeout=120, cwd=folder)
    try:
        yield f"127.0.0.1:{port}"
        assert any(b"gcs_server" in cmdline(pid) for pid in processes_of(folder, MARK))
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for pid in processes_of(folder, MARK):
                os.kill(pid, sign)
            time.sleep(2)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
def test_a_run_on_an_existing_cluster_leaves_it_as_it_was(
    head: str, tmp_path: Path, phantom_cohort: Path, short_plan: str
) -> None:
    done = subprocess.run(
        [PROGRAM, "sim", "run", "--cohort", phantom_cohort, "--out", "out", "--sweep", short_plan,
         "--ray-address", head], cwd=tmp_path, text=True, capture_output=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("completed\n")
    assert f"as many as the Ray cluster at {head} has cores" in done.stderr
    check_cluster(head)
    running = [cmdline(int(folder.name)) for folder in Path("/proc").glob("[0-9]*")]
    assert not [line for line in running if b"ClientAppActor" in line]
    assert not [line for line in running if str(tmp_path).encode() in line]
