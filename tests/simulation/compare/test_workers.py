import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulation.compare.workers import workers

PARENT = """
import signal
import sys
from pathlib import Path
from tests_of_workers import note_and_sleep
from simulation.compare.workers import workers

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background is deaf to it
    with workers(1) as pool:
        pool.submit(note_and_sleep, sys.argv[1]).result()
"""
JOB = """
import os, time
from pathlib import Path

def note_and_sleep(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(120)
"""


def note_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(120)


def when_noted(path: Path) -> int:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return int(path.read_text())


def is_gone(pid: int, within_s: float = 20) -> bool:
    deadline = time.monotonic() + within_s
    while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_worker_ends_with_its_parent_however_that_ends(tmp_path: Path, end: signal.Signals) -> None:
    (tmp_path / "tests_of_workers.py").write_text(JOB)
    (tmp_path / "parent.py").write_text(PARENT)
    places = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", tmp_path / "pid"],
                              stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": places})
    try:
        worker = when_noted(tmp_path / "pid")
        parent.send_signal(end)
        assert parent.wait(20) != 0
        assert is_gone(worker)
    finally:
        parent.kill()


def test_workers_are_ended_where_their_block_is_left_by_an_exception(tmp_path: Path) -> None:
    def interrupted() -> None:
        with workers(1) as pool:
            pool.submit(note_and_sleep, str(tmp_path / "pid"))
            when_noted(tmp_path / "pid")
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - began < 60
    assert is_gone(int((tmp_path / "pid").read_text()))
