import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from braing3n.errors import RunFailedError
from simulation import flower


@dataclass
class FakeLink:
    """Says that the run is going on until its record does not, and counts how often it is asked."""

    statuses: list[str]
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def command(self, *arguments: str) -> dict[str, Any]:
        self.asked.append(arguments)
        status = self.statuses.pop(0)
        if status == "":
            raise RunFailedError("no answer", expected="one", found="none", fix="none")
        return {"runs": [{"status": status}]}


def wait(link: FakeLink, polls: list[bool]) -> str:
    return flower._wait_until_over(link, "7", lambda: polls.pop(0))  # type: ignore[arg-type]


def test_flower_is_asked_at_once_when_the_record_says_that_the_run_is_over(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flower, "POLL_S", 0.0)
    link = FakeLink(["running", "finished:completed"])
    assert wait(link, [False] * 50 + [True, True]) == "finished:completed"
    assert link.asked == [("ls", "--run-id", "7")] * 2


def test_a_run_that_never_wrote_a_record_is_asked_for_now_and_then(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flower, "POLL_S", 0.01)
    monkeypatch.setattr(flower, "ASK_EVERY_S", 0.05)
    link = FakeLink(["running", "finished:failed"])
    assert wait(link, [False] * 1000) == "finished:failed"


def test_one_unanswered_question_does_not_end_a_run_and_several_in_a_row_do(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flower, "POLL_S", 0.0)
    going_on = FakeLink(["", "", "running", "", "finished:completed"])
    assert wait(going_on, [True] * 5) == "finished:completed"
    with pytest.raises(RunFailedError):
        wait(FakeLink([""] * 3), [True] * 3)


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
        flower._end_left_over(tmp_path / "ours", wait_s=0.5)
        assert started[0].wait(5) == -9
        time.sleep(0.2)
        assert started[1].poll() is None  # a longer name is another home
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()
