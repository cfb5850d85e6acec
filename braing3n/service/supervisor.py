"""Runs other programs in the foreground until it is told to stop: starts, relays, restarts, ends."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from braing3n.errors import ConfigError, RunFailedError
from braing3n.service.log import ServiceLog

KEPT_LINES = 60
TICK_S = 0.5
END_S = 20.0


@dataclass(frozen=True)
class Program:
    """A program to run.

    Attributes:
        name: For the log.
        command: With all arguments. Secrets do not belong there: every user of a machine can read it.
        environment: All of it.
        folder: Its working directory.
        unsaid: Lines that are not relayed: what it prints about each question that it is asked.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    unsaid: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Ended:
    """A program that ended by itself.

    Attributes:
        name: The program's.
        code: What it returned; −n after signal n.
        lines: The last lines that it printed.
    """

    name: str
    code: int
    lines: tuple[str, ...]


# Seconds after which a program that ended is started again; raising ends the service.
OnEnd = Callable[[Ended], float]


@dataclass
class _Running:
    process: "subprocess.Popen[str]"
    lines: deque[str]
    reader: threading.Thread


@dataclass
class Supervisor:
    """Runs programs; `run` returns once SIGTERM or SIGINT came and all have ended.

    Attributes:
        programs: By the order in which they are started; they are ended in the other.
        log: Where their output goes.
        on_end: Says what to do about one that ended.
        start_pause_s: Between two starts.
        on_line: Is given each line of each program, in a thread of that program's.
    """

    programs: Sequence[Program]
    log: ServiceLog
    on_end: OnEnd
    start_pause_s: float = 0.0
    on_line: Callable[[str, str], None] = field(default=lambda *_: None)
    _running: dict[str, _Running] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    # No Event: a signal's handler that sets one can wait for a lock that its own thread holds.
    _is_stopping: bool = False
    _log_failure: RunFailedError | None = None

    def run(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Run the programs until the service is told to stop.

        Args:
            on_tick: Called about twice a second, in this thread.

        Raises:
            ConfigError: A program cannot be started.
            RunFailedError: The log cannot be written.
            BrainG3NError: As `on_end` or `on_tick` raises it; the programs are ended first.
        """
        with self._told_to_stop():
            try:
                for program in self.programs:
                    self.start(program.name)
                    if not self._goes_on(self.start_pause_s):
                        break
                while self._goes_on(TICK_S):
                    self._look()
                    on_tick()
            finally:
                self.end()

    def start(self, name: str) -> None:
        """Start a program.

        Raises:
            ConfigError: It is not there, or cannot be started.
        """
        program = next(one for one in self.programs if one.name == name)
        # The tether is what is started: it could not say in our words that its program is missing.
        if shutil.which(program.command[0], path=program.environment.get("PATH")) is None:
            raise ConfigError(f"{name} cannot be started", expected=f"a program {program.command[0]}",
                              found="no such program", fix="install it")
        tether = (sys.executable, "-I", str(Path(__file__).with_name("tether.py")), str(os.getpid()))
        try:
            process = subprocess.Popen(
                [*tether, *program.command], cwd=program.folder, env=dict(program.environment),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                errors="replace", start_new_session=True, umask=0o077)
        except OSError as error:
            raise ConfigError(f"{name} cannot be started", found=error.strerror or "an error",
                              expected=f"a process in {program.folder}",
                              fix="correct that folder's permissions, or look at the machine's limits"
                              ) from error
        lines: deque[str] = deque(maxlen=KEPT_LINES)
        reader = threading.Thread(target=self._relay, args=(program, process, lines), daemon=True)
        reader.start()
        self._running[name] = _Running(process, lines, reader)
        self.log.say("service", f"started {name}, process {process.pid}")

    def pid(self, name: str) -> int | None:
        """Return a program's process id; None while it is not running."""
        found = self._running.get(name)
        return None if found is None else found.process.pid

    def is_running(self, name: str) -> bool:
        """Return whether a program is running now."""
        return name in self._running

    def stop(self) -> None:
        """Have `run` return."""
        self._is_stopping = True

    def end(self) -> None:
        """End all programs: first asked to, then killed; each with what it started itself."""
        for program in reversed(self.programs):
            running = self._running.pop(program.name, None)
            if running is None:
                continue
            for sign, wait_s in ((signal.SIGTERM, END_S), (signal.SIGKILL, END_S)):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.process.pid, sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.process.wait(wait_s)
            running.reader.join(1.0)
            with contextlib.suppress(RunFailedError):  # the others are to be ended in any case
                self.log.say("service", f"ended {program.name}")

    def _goes_on(self, seconds: float) -> bool:
        """Wait, and return whether the service was not told to stop meanwhile."""
        until = time.monotonic() + seconds
        while not self._is_stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        return not self._is_stopping

    def _look(self) -> None:
        """Find out which programs ended, and start those again whose time has come."""
        if self._log_failure is not None:
            raise self._log_failure
        for name, running in list(self._running.items()):
            code = running.process.poll()
            if code is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGKILL)  # what it left behind
            running.reader.join(1.0)
            del self._running[name]
            self.log.say("service", f"{name} ended with {code}", "warning")
            pause_s = self.on_end(Ended(name, code, tuple(running.lines)))
            self.log.say("service", f"{name} is started again in {pause_s:.0f} s")
            self._due[name] = time.monotonic() + pause_s
        for name, due in list(self._due.items()):
            if time.monotonic() >= due:
                del self._due[name]
                self.start(name)

    def _relay(self, program: Program, process: "subprocess.Popen[str]", lines: deque[str]) -> None:
        for line in process.stdout or ():
            self.on_line(program.name, line)
            if program.unsaid is None or not program.unsaid.search(line):
                lines.append(line.rstrip())
                try:
                    self.log.relay(program.name, line)
                except RunFailedError as error:  # read on: a program that cannot print stands still
                    self._log_failure = error

    @contextlib.contextmanager
    def _told_to_stop(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as the word to stop."""
        before = {sign: signal.signal(sign, lambda *_: self.stop())
                  for sign in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)
