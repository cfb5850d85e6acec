"""A folder that may take no more than so many bytes: the longest unused file goes first."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A file's time says when it was last used, so that this outlives a process; reading sets it at
# most this often, to stay cheap.
TOUCH_EVERY_S = 3600.0

# What was used within the last hour may have a time that is an hour older.
_RECENT_S = 2 * TOUCH_EVERY_S
# After a folder was found full of recent files, it is looked through again after this.
_LOOK_AGAIN_S = 60.0
# Looking through a folder frees a little more than is asked for, so that it is seldom done.
_SPARE = 0.02


@dataclass(frozen=True)
class _Entry:
    path: Path
    num_bytes: int
    used_s: float


class Room:
    """Keeps a folder within its limit.

    A file that was used within the last hour is never removed for another. So a working set that
    is too large keeps what it has, and does not go round and round; what does not fit is not
    kept. Several processes may share a folder: each looks through it when it thinks that it is
    full, so that they exceed the limit by little and not for long: what is beyond it when the
    folder is opened, as after the limit was lowered, is removed however recent.

    Args:
        folder: Its files lie in folders of one level.
        limit_bytes: What they may take together.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._full_until_s = 0.0
        self._free = 0
        self._clear(0, keep_recent=False)

    def fits(self, num_bytes: int) -> bool:
        """Tell whether so much is free, without removing anything."""
        return num_bytes <= self._free

    def take(self, num_bytes: int) -> bool:
        """Tell whether a file of this size may be written; remove others for it if need be."""
        if self._free < num_bytes <= self._limit and time.monotonic() >= self._full_until_s:
            self._clear(min(num_bytes + int(self._limit * _SPARE), self._limit), keep_recent=True)
            if num_bytes > self._free:
                self._full_until_s = time.monotonic() + _LOOK_AGAIN_S
        if num_bytes > self._free:
            return False
        self._free -= num_bytes
        return True

    def _clear(self, wanted_bytes: int, *, keep_recent: bool) -> None:
        """Look through the folder, and remove files until `wanted_bytes` are free or none is left."""
        entries = sorted(_entries(self._folder), key=lambda entry: entry.used_s)
        self._free = self._limit - sum(entry.num_bytes for entry in entries)
        now = time.time()
        for entry in entries:
            if self._free >= wanted_bytes:
                break
            # A time that lies ahead is of another clock, and says nothing.
            if not keep_recent or abs(now - entry.used_s) >= _RECENT_S:
                entry.path.unlink(missing_ok=True)
                self._free += entry.num_bytes


def folder_bytes(folder: Path) -> int:
    """Return what the files in the folders of `folder` take together."""
    return sum(entry.num_bytes for entry in _entries(folder))


def _entries(folder: Path) -> Iterator[_Entry]:
    for inner in folder.glob("[0-9a-f][0-9a-f]"):
        with os.scandir(inner) as files:
            for file in files:
                try:
                    found = file.stat(follow_symlinks=False)
                except FileNotFoundError:  # another process has just removed it
                    continue
                yield _Entry(Path(file.path), found.st_size, found.st_mtime)
