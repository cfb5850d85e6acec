"""The folder of `braing3n sim run`: taken by one run at a time, new or gone on with."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from braing3n.errors import OutputError
from braing3n.files import locked, remove_unfinished, write_text
from braing3n.service.processes import end_left_over

RECORD = "simulation.json"
_LOCK = ".simulation.lock"
_HOME = ".flower-home"


@contextlib.contextmanager
def open_out(out: Path, asked: dict[str, Any]) -> Iterator[bool]:
    """Take the folder for a run, and keep others out until it is over.

    What an earlier run that was killed had not finished writing is removed, and what it left running
    is ended: it is told by the FLWR_HOME that is noted here.

    Args:
        out: The folder. It must be new or empty, or hold the same simulation, unfinished.
        asked: What tells one simulation from another, as JSON.

    Yields:
        Whether an earlier run is gone on with.

    Raises:
        OutputError: Something else is in the folder, it is in use, or it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        inside = sorted(path.name for path in out.iterdir())
    except OSError as error:
        raise OutputError(f"{out} cannot be used", expected="a folder that can be written",
                          found=error.strerror or "an error", fix="choose another --out") from error
    if inside and inside != [_LOCK] and RECORD not in inside:
        raise OutputError(f"{out} is not empty", expected="a new or empty folder, or one with a "
                          "simulation that was interrupted", found=", ".join(inside[:5]),
                          fix="choose another --out, or remove it")
    try:
        with locked(out / _LOCK):
            yield _take(out, asked)
    except BlockingIOError as error:
        raise OutputError(f"{out} is in use", expected="a folder that no other run writes to",
                          found="another `braing3n sim run`", fix="wait until it ends, or choose "
                          "another --out") from error


def _take(out: Path, asked: dict[str, Any]) -> bool:
    path = out / RECORD
    if not path.exists():
        write_text(path, json.dumps({"schema": 1, **asked, "is_finished": False}, indent=1) + "\n")
        return False
    there = _read(path)
    differences = [f"{key}: {there.get(key)} there, {value} here" for key, value in asked.items()
                   if there.get(key) != value]
    if differences:
        raise OutputError(f"{out} holds another simulation", found="; ".join(differences),
                          expected="the same plan, sweep and sites, to go on with it",
                          fix="give what it was begun with, or choose another --out")
    if there.get("is_finished"):
        raise OutputError(f"{out} holds a simulation that has ended", expected="a new folder, or one "
                          "with a simulation that was interrupted", found="a whole one",
                          fix="choose another --out; `braing3n report` writes its report again")
    if (out / _HOME).exists():
        end_left_over(Path((out / _HOME).read_text().strip()))
        (out / _HOME).unlink()
    remove_unfinished(out, is_deep=True)
    return True


def note_home(out: Path, home: Path) -> None:
    """Note by which FLWR_HOME the processes of this run are told, before there are any."""
    write_text(out / _HOME, f"{home}\n")


def forget_home(out: Path) -> None:
    """Say that none of them are left."""
    (out / _HOME).unlink(missing_ok=True)


def mark_finished(out: Path) -> None:
    """Say that nothing is left to do in the folder."""
    record = _read(out / RECORD)
    write_text(out / RECORD, json.dumps({**record, "is_finished": True}, indent=1) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise OutputError(f"{path} is damaged", expected="what `braing3n sim run` writes",
                          found="other content", fix="choose another --out")
    return content
