"""Programs that are run in the foreground: started, relayed, started again, ended."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from braing3n.errors import ConfigError, RunFailedError
from braing3n.service import supervisor
from braing3n.service.log import ServiceLog
from braing3n.service.supervisor import Program, Supervisor

WAIT_S = 20.0
# A program that leads to the end of its own group only if it is asked to.
LASTING = "echo up; while :; do sleep 0.1; done"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(supervisor, "TICK_S", 0.02)


@pytest.fixture
def shell(tmp_path):
    """Make a program of a line for the shell."""

    def make(line, name="one", **more):
        return Program(name, ("/bin/sh", "-c", line), dict(os.environ), tmp_path, **more)

    return make


class Service:
    """A supervisor whose log is kept, and that stops when something is so."""

    def __init__(self, *programs, on_end=lambda ended: 0.0, log=None, **more):
        self.stream = io.StringIO()
        self.ended = []
        self.on_end = on_end
        self.supervisor = Supervisor(programs, log or ServiceLog("json", self.stream), self._judge,
                                     **more)

    def _judge(self, ended):
        self.ended.append(ended)
        return self.on_end(ended)

    def run(self, until=lambda service: True):
        deadline = time.monotonic() + WAIT_S

        def tick():
            if until(self):
                self.supervisor.stop()
            elif time.monotonic() > deadline:
                raise AssertionError(f"it did not come to that: {self.told()}")

        self.supervisor.run(tick)

    def told(self, source=None):
        return [line["text"] for line in map(json.loads, self.stream.getvalue().splitlines())
                if source in (None, line["source"])]


def is_alive(pid):
    """Whether a process works; one that ended may wait for whoever adopted it to take notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(is_so):
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def number_in(path):
    wait_until(lambda: path.exists() and path.read_text().strip())
    return int(path.read_text())


def test_what_programs_print_is_one_log_under_their_names(shell):
    service = Service(shell("echo 'WARNING : low'; echo out >&2; sleep 60"),
                      shell("echo hello; sleep 60", name="two"))
    service.run(lambda it: it.told("two") and len(it.told("one")) == 2)
    assert sorted(service.told("one")) == ["low", "out"]
    assert service.told("two") == ["hello"]


def test_a_program_that_ended_is_started_again_after_the_pause_that_is_asked_for(shell, tmp_path):
    times = tmp_path / "times"
    service = Service(shell(f"date +%s.%N >> {times}; exit 3"), on_end=lambda ended: 0.5)
    service.run(lambda it: len(it.ended) == 3)
    first, second, third = map(float, times.read_text().split())
    assert 0.5 <= second - first < 5
    assert 0.5 <= third - second < 5
    assert [one.code for one in service.ended] == [3, 3, 3]


def test_it_is_told_how_a_program_ended_and_what_it_said_last(shell):
    service = Service(shell("seq 100; kill -9 $$"))
    service.run(lambda it: it.ended)
    assert service.ended[0].code == -signal.SIGKILL
    assert service.ended[0].lines == tuple(str(n) for n in range(41, 101))


def test_programs_are_started_in_order_and_ended_in_the_other(shell):
    service = Service(shell(LASTING), shell(LASTING, name="two"))
    service.run(lambda it: it.told("two"))
    assert [re.sub(",.*", "", line) for line in service.told("service")] == [
        "started one", "started two", "ended two", "ended one"]


def test_a_stop_while_programs_are_started_starts_no_more(shell):
    service = Service(shell(LASTING), shell(LASTING, name="two"), start_pause_s=60)
    began = time.monotonic()
    service.supervisor.stop()
    service.run()
    assert not any("two" in line for line in service.told())
    assert time.monotonic() - began < 10


def test_where_a_program_is_not_started_again_the_others_are_ended_and_it_is_said(shell, tmp_path):
    def judge(ended):
        raise RunFailedError("enough", expected="a", found="b", fix="c")

    service = Service(shell(f"echo $$ > {tmp_path / 'pid'}; {LASTING}"),
                      shell("sleep 0.3; exit 1", name="two"), on_end=judge)
    with pytest.raises(RunFailedError, match="enough"):
        service.run(lambda it: False)
    assert not is_alive(number_in(tmp_path / "pid"))


def test_an_error_of_what_is_done_meanwhile_ends_all_programs(shell, tmp_path):
    def fail(service):
        number_in(tmp_path / "pid")
        raise RunFailedError("enough", expected="a", found="b", fix="c")

    with pytest.raises(RunFailedError, match="enough"):
        Service(shell(f"echo $$ > {tmp_path / 'pid'}; {LASTING}")).run(fail)
    assert not is_alive(number_in(tmp_path / "pid"))


def test_a_program_that_is_missing_is_told_and_those_before_it_are_ended(shell, tmp_path):
    missing = Program("two", ("no-such-program-of-ours",), dict(os.environ), tmp_path)
    service = Service(shell(LASTING), missing)
    with pytest.raises(ConfigError) as told:
        service.run()
    assert "no-such-program-of-ours" in told.value.expected
    assert service.told("service")[-1] == "ended one"


def test_a_program_is_found_in_the_path_that_it_gets(tmp_path):
    own = tmp_path / "bin/own"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\necho found; sleep 60\n")
    own.chmod(0o755)
    program = Program("one", ("own",), {"PATH": f"{own.parent}:/usr/bin:/bin"}, tmp_path)
    Service(program).run(lambda it: it.told("one") == ["found"])


def test_a_working_directory_that_is_missing_is_told_as_that(tmp_path):
    program = Program("one", ("/bin/true",), dict(os.environ), tmp_path / "gone")
    with pytest.raises(ConfigError, match="gone"):
        Service(program).run()


def test_what_programs_write_is_for_their_owner_alone(shell, tmp_path):
    Service(shell(f"touch {tmp_path / 'file'}; mkdir {tmp_path / 'folder'}; {LASTING}")).run(
        lambda it: it.told("one"))
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700


def test_routine_lines_are_not_relayed(shell):
    program = shell("echo GET /health 200; echo GET /health 500; sleep 60",
                    unsaid=re.compile(r" 200$"))
    service = Service(program)
    service.run(lambda it: it.told("one"))
    assert service.told("one") == ["GET /health 500"]


def test_a_program_that_does_not_end_when_it_is_asked_to_is_killed(shell, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "END_S", 0.3)
    pid = tmp_path / "pid"
    Service(shell(f"trap '' TERM; echo $$ > {pid}; {LASTING}")).run(lambda it: it.told("one"))
    assert not is_alive(number_in(pid))


def test_what_a_program_left_behind_is_ended_with_it(shell, tmp_path):
    pid = tmp_path / "pid"
    line = (f"(trap '' TERM; sh -c 'echo $PPID' > {pid}; {LASTING}) & "
            f"until [ -s {pid} ]; do :; done; exit 1")
    Service(shell(line), on_end=lambda ended: 60.0).run(lambda it: it.ended)
    assert not is_alive(number_in(pid))


def test_a_program_is_not_held_up_by_a_log_that_cannot_be_written_and_the_service_ends(
        shell, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "TICK_S", 2.0)  # until it is looked at
    done, pid = tmp_path / "done", tmp_path / "pid"

    class Full(io.StringIO):
        def write(self, text):
            if "filler" in text:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    # More than a pipe holds: it would stand still if nobody read on.
    program = shell(f"echo $$ > {pid}; yes filler | head -c 200000; touch {done}; {LASTING}")
    with pytest.raises(RunFailedError, match="No space left on device"):
        Service(program, log=ServiceLog("text", Full())).run(lambda it: False)
    assert done.exists()
    assert not is_alive(number_in(pid))


SERVICE = """
import os, sys
from pathlib import Path
from braing3n.service import supervisor
from braing3n.service.log import ServiceLog
from braing3n.service.supervisor import Program, Supervisor
folder = Path(sys.argv[1])
child = (f"echo $$ > {folder}/child; "
         f"sh -c 'echo $$ > {folder}/grandchild; sleep 600; exit'; sleep 600")
Supervisor([Program("one", ("/bin/sh", "-c", child), dict(os.environ), folder)], ServiceLog(),
           lambda ended: 0.0).run()
"""


@pytest.fixture
def service_process(tmp_path):
    """A service in a process of its own, with a program that runs another."""
    process = subprocess.Popen([sys.executable, "-c", SERVICE, str(tmp_path)], stdout=subprocess.PIPE,
                               text=True)
    pids = [number_in(tmp_path / name) for name in ("child", "grandchild")]
    yield process, pids
    process.kill()
    process.communicate()
    for pid in pids:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_told_to_stop_ends_its_programs_and_theirs_and_then_itself(
        service_process, sign):
    process, pids = service_process
    assert all(map(is_alive, pids))
    process.send_signal(sign)
    out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert not any(map(is_alive, pids))
    assert "ended one" in out


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a program that its parent died")
def test_programs_end_when_their_service_is_killed(service_process):
    process, pids = service_process
    process.kill()
    process.wait()
    wait_until(lambda: not is_alive(pids[0]))


def test_a_program_whose_service_is_gone_already_is_not_started(tmp_path):
    tether = Path(supervisor.__file__).with_name("tether.py")
    nobody = subprocess.Popen(["/bin/true"])
    nobody.wait()
    subprocess.run([sys.executable, "-I", tether, str(nobody.pid), "/bin/touch", tmp_path / "started"],
                   check=True)
    assert not (tmp_path / "started").exists()
