from dataclasses import dataclass, field
from typing import Any

import pytest

from braing3n.errors import RunFailedError
from simulation.running import flower


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
