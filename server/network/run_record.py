"""A run's own record, as those who started it read it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from braing3n.files import write_text


def read_record(out: Path) -> dict[str, Any]:
    """Return run.json; nothing where the run did not come so far as to write it."""
    path = out / "run.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def status_of(out: Path) -> str:
    """Return a run's status in its own words; "" where there is none yet."""
    return str(read_record(out).get("status", ""))


def place_of(out: Path) -> str:
    """Return how far a run is, in words: `at its beginning`, `after round 3 of decoder`."""
    stages = read_record(out).get("stages") or []
    for stage in reversed(stages):
        if stage.get("participation"):
            return f"after round {stage['participation'][-1]['round']} of {stage['name']}"
    return "at its beginning"


def mark_failed(out: Path, why: str) -> None:
    """Say in a run's record why it is over; one that ended by itself stays as it is.

    Args:
        out: The run's folder. No ServerApp is at work on it.
        why: In words.
    """
    if status_of(out) == "running":
        _mark(out, f"failed: {why}", datetime.now(UTC).isoformat(timespec="seconds"))


def mark_running(out: Path) -> None:
    """Say in the record of a run that failed that it goes on, before a ServerApp does.

    That could be killed before it says so, and would seem to have failed once more.
    """
    if status_of(out).startswith("failed"):
        _mark(out, "running", None)


def _mark(out: Path, status: str, ended: str | None) -> None:
    record = read_record(out) | {"status": status, "ended": ended}
    write_text(out / "run.json", json.dumps(record, indent=1) + "\n")
