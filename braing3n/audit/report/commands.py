"""The commands that come to the same numbers, with the files as they were given."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from braing3n.audit.report.appendix import Appendix
from braing3n.audit.report.given import Given


@dataclass(frozen=True)
class Command:
    """A command: its id in the document, what it tells, and the line to type."""

    id: str
    about: str
    line: str


def commands(given: Given, ledgers: Sequence[Appendix]) -> list[Command]:
    """Return how to come to the same numbers."""
    found = []
    if ledgers:
        found.append(Command("verify", "Whether the ledgers hold, against receipts", _line(
            "verify", given.ledgers, receipts=given.receipts, pubkey=given.keys)))
    found += [Command(one.recompute_id, f"Every recomputed ε of {one.name}",
                      _line("recompute", [one.audit.path])) for one in ledgers]
    more = [path for path in given.receipts
            if given.run is None or not path.absolute().is_relative_to(given.run.absolute())]
    named = [path for path in given.ledgers if given.run is None
             or not path.absolute().is_relative_to(given.run.absolute())]
    paths = [*([] if given.run is None else [given.run]), *named]
    found.append(Command("report", "This document", _line(
        "report", paths, receipts=more, pubkey=given.keys,
        empirical=list(dict.fromkeys(attack.path for attack in given.attacks)),
        out=[Path("report.html")])))
    return found


def _line(command: str, paths: Sequence[Path], **options: Sequence[Path]) -> str:
    words = ["braing3n", "audit", command, *map(str, paths)]
    for name, values in options.items():
        words += [word for value in values for word in (f"--{name}", str(value))]
    return shlex.join(words)
