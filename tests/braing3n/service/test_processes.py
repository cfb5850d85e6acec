import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from braing3n.service.processes import end_left_over, memory_mb, open_watchdog, processes_of


def test_a_process_that_left_its_session_and_ignores_sigterm_is_ended_by_its_home(
    tmp_path: Path
) -> None:
    code = ("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
            "print('ready', flush=True); time.sleep(60)")
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                         start_new_session=True, env={**os.environ, "FLWR_HOME": str(home)})
        for home in (tmp_path / "ours", tmp_path / "ours-too")
    ]
    try:
        assert [process.stdout.readline() for process in started] == ["ready\n"] * 2
        end_left_over(tmp_path / "ours", wait_s=0.5)
        assert started[0].wait(5) == -9
        time.sleep(0.2)
        assert started[1].poll() is None  # a longer name is another home
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()


def test_memory_is_counted_over_processes() -> None:
    assert 5 < memory_mb([os.getpid()]) < 5000
    assert memory_mb([os.getpid(), 2**22 + 1]) == pytest.approx(memory_mb([os.getpid()]), rel=0.1)


LAUNCHER = """
import os, subprocess, sys, time
from pathlib import Path
from braing3n.service.processes import open_watchdog
home = Path(sys.argv[1])
with open_watchdog(home, home.parent):
    subprocess.Popen(["sleep", "100"], env={**os.environ, "FLWR_HOME": str(home)},
                     start_new_session=True)
    print("ready", flush=True)
    time.sleep(100)
"""


def when_seen(home: Path) -> list[int]:
    """Return the processes of `home`; the kernel shows an environment a moment after the start."""
    deadline = time.monotonic() + 20
    while not (found := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def test_what_a_killed_launcher_left_is_ended_and_its_folder_removed(tmp_path: Path) -> None:
    home = tmp_path / "run" / "flwr-home"
    home.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, str(home)], stdout=subprocess.PIPE,
                          text=True, start_new_session=True) as launcher:
        assert launcher.stdout.readline() == "ready\n"
        assert len(when_seen(home)) == 1
        os.killpg(launcher.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (processes_of(home) or home.parent.exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(home) == []
    assert not home.parent.exists()


def test_the_watchdog_ends_with_what_it_watches(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with open_watchdog(tmp_path / "home", tmp_path / "run"):
        assert (tmp_path / "run").exists()
    assert not (tmp_path / "run").exists()
