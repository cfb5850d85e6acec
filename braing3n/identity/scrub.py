"""A cleaned copy of a site's data, and a log of what was removed and what stayed behind."""

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from braing3n.data.tree import Entry
from braing3n.data.walk import walk
from braing3n.errors import CohortError, OutputError
from braing3n.files import check_free, write_text
from braing3n.identity.clean_file import Reason, Stays, clean_file
from braing3n.identity.findings import name_identity
from braing3n.identity.texts import redact
from braing3n.printable import printable

SCHEMA = 1
_MARGIN = 1.1  # a copy is about as large as what it is of
_MARGIN_BYTES = 64 * 2**20

# What the disk of the copy says when it is full or may not be written to.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scrubbed:
    """What a copy came to.

    Attributes:
        out: The copy.
        log: Its log, beside it.
        num_copied: Files in the copy.
        cleaned: By file, what was removed from it. Names that may name a person are redacted.
        left: By file, or by folder where its name is the reason, why it stayed behind.
        counts: How many files stayed behind for each reason.
    """

    out: Path
    log: Path
    num_copied: int
    cleaned: dict[str, list[str]]
    left: dict[str, Stays]
    counts: Counter[Reason]

    @property
    def needs_person(self) -> bool:
        """Whether something stayed behind that somebody has to decide about."""
        return any(reason.advice for reason in self.counts)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for the log: where, and of which kind; never a value."""
        return {
            "schema": SCHEMA,
            "num_copied": self.num_copied,
            "num_left_out": {reason.name.lower(): count for reason, count in self.counts.items()},
            "cleaned": [{"file": name, "removed": what} for name, what in self.cleaned.items()],
            "left_out": [{"file": name, "why": stays.reason.value, "detail": stays.detail,
                          "to_do": stays.reason.advice} for name, stays in self.left.items()],
        }


def scrub(root: Path, out: Path, *, aside: frozenset[Path] = frozenset(), listed: Sequence[Path] = (),
          progress: Progress | None = None) -> Scrubbed:
    """Copy a folder without what may name a person; the folder itself is never written to.

    Links are followed: the copy holds files alone. It is written under another name beside `out`
    and takes its name when it is whole. `<out>-scrub-log.json` beside it says what was done.

    Args:
        root: The site's data.
        out: The copy; new, or an empty folder.
        aside: Folders and files that are no data, such as a site's own state folder.
        listed: Scans that a table names, which have to lie in the folder.
        progress: Called with (done, all) after each file.

    Raises:
        CohortError: A folder cannot be listed.
        OutputError: The copy's place is taken, inside the data or the reverse, or too small.
    """
    _check_place(root, out)
    entries = _list(root, aside)
    _check_space(entries, out)
    part = out.with_name(f".{uuid4().hex}.{out.name}")
    try:
        part.mkdir(mode=0o700, parents=True)
        done = _Copying(root, part)
        for number, entry in enumerate(entries, start=1):
            done.take(entry)
            if progress is not None:
                progress(number, len(entries))
        done.look_outside(listed)
        scrubbed = done.outcome(out)
        write_text(scrubbed.log, json.dumps(scrubbed.as_dict(), indent=1) + "\n")
        scrubbed.log.chmod(0o600)
        part.replace(out)
    except OSError as error:
        raise OutputError(f"{out} cannot be written", expected="a folder to write to",
                          found=error.strerror or "an error",
                          fix="check the disk, or name another --out") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return scrubbed


def _list(root: Path, aside: frozenset[Path]) -> list[Entry]:
    try:
        return list(walk(root, aside))
    except OSError as error:
        raise CohortError(f"{error.filename} cannot be listed", expected="a readable folder",
                          found=error.strerror or "an error", fix="check its permissions") from error


class _Copying:
    """Takes one file after the other, and keeps the account of it."""

    def __init__(self, root: Path, part: Path) -> None:
        self._root = root
        self._part = part
        self._num_copied = 0
        self._cleaned: dict[str, list[str]] = {}
        self._left: dict[str, Stays] = {}
        self._counts: Counter[Reason] = Counter()

    def take(self, entry: Entry) -> None:
        """Copy a file, or say why not."""
        named = name_identity(entry.path, self._root)
        if named:
            self._leave(named[0].path, Stays(Reason.NAME, named[0].found))
            return
        target = self._part / entry.path.relative_to(self._root)
        try:
            done = clean_file(entry.path, target, entry.kind)
        except OSError as error:
            if error.errno in _DISK or Path(error.filename or "").is_relative_to(self._part):
                raise
            done = Stays(Reason.DAMAGED, error.strerror or "an error")
        if isinstance(done, Stays):
            self._leave(entry.path, done)
            return
        self._num_copied += 1
        if done:
            self._cleaned[self._shown(entry.path)] = done

    def look_outside(self, listed: Sequence[Path]) -> None:
        """Note the scans that a table lists and that are not in its folder."""
        folder = os.path.normpath(self._root.absolute())
        for path in listed:
            if not Path(os.path.normpath(path.absolute())).is_relative_to(folder):
                self._leave(path, Stays(Reason.OUTSIDE))

    def outcome(self, out: Path) -> Scrubbed:
        """Return the account."""
        return Scrubbed(out, out.with_name(f"{out.name}-scrub-log.json"), self._num_copied,
                        self._cleaned, self._left, self._counts)

    def _leave(self, path: Path, stays: Stays) -> None:
        self._left.setdefault(self._shown(path), stays)
        self._counts[stays.reason] += 1

    def _shown(self, path: Path) -> str:
        inside = path.is_relative_to(self._root)
        return printable(redact(path.relative_to(self._root).as_posix() if inside else str(path),
                                is_label=True))


def _check_place(root: Path, out: Path) -> None:
    here, there = root.resolve(), out.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise OutputError(f"{out} is no place for a copy", expected="a folder apart from the data",
                          found="one that holds the data, or lies in it", fix="name another --out")
    check_free(out)


def _check_space(entries: Sequence[Entry], out: Path) -> None:
    needed = int(sum(_size(entry.path) for entry in entries) * _MARGIN) + _MARGIN_BYTES
    above = next(folder for folder in out.absolute().parents if folder.exists())
    free = shutil.disk_usage(above).free
    if free < needed:
        raise OutputError(f"there is no room for a copy in {above}", expected=f"{needed} bytes free",
                          found=f"{free} bytes", fix="make room, or name an --out on another disk")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link to nowhere
        return 0
