"""Processes of one run, told by an environment variable that they inherited: found, measured, ended.

Flower's simulation and Ray put themselves into sessions of their own, so neither a process group nor
a parent tells whose they are. As a program, this file waits until its standard input ends, as it does
when whoever started it dies, however that happens, and then ends what was left: `open_watchdog`.
It imports nothing of ours, so that it starts at once and needs no path.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

MARK = "FLWR_HOME"


def processes_of(home: Path, variable: str = MARK) -> list[int]:
    """Return the processes, zombies apart, whose environment has `variable` with this value."""
    mark = f"{variable}={home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is somebody else's
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def end_left_over(home: Path, wait_s: float = 5.0) -> int:
    """End what has this FLWR_HOME, which is no other run's; return how many there were."""
    found = processes_of(home)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in processes_of(home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, sign)
        deadline = time.monotonic() + wait_s
        while processes_of(home) and time.monotonic() < deadline:
            time.sleep(0.1)
    return len(found)


def memory_mb(processes: Iterable[int]) -> float:
    """Return the memory of processes together, in MB; what several share is counted once (PSS)."""
    total_kb = 0
    for process in processes:
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
            total_kb += int(text.partition("\nPss:")[2].split()[0])
    return total_kb / 1024


@contextlib.contextmanager
def open_watchdog(home: Path, folder: Path) -> Iterator[None]:
    """End what has this FLWR_HOME, and remove `folder`, should this process be killed meanwhile."""
    kept = {name: value for name, value in os.environ.items() if name != MARK}
    process = subprocess.Popen(
        [sys.executable, "-I", __file__, str(home), str(folder)], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=kept, cwd="/",
        start_new_session=True,
    )
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()


def _watch(home: Path, folder: Path) -> None:
    sys.stdin.read()  # ends when the other end of the pipe is gone
    end_left_over(home)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]), Path(sys.argv[2]))
