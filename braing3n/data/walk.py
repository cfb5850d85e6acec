"""Every file of a folder: links are followed, what is hidden or no file is told and left alone."""

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from braing3n.data.tree import Entry, Kind, describe

_LITTER = re.compile(r"\..*|~.*|.*~|thumbs\.db|desktop\.ini|__macosx|icon\r", re.IGNORECASE)
# What the system says of a link that leads nowhere, or back to itself.
_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_KEPT_HIDDEN = {".bidsignore"}
# What systems and version control keep for themselves.
_SYSTEM_FOLDERS = {".git", ".github", ".datalad", ".svn", ".hg", ".appledouble", ".trashes",
                   ".spotlight-v100", ".fseventsd", ".temporaryitems",
                   ".documentrevisions-v100", "__macosx"}


def walk(root: Path, aside: frozenset[Path] = frozenset()) -> Iterator[Entry]:
    """Give every file below `root`, in order of their paths.

    Links to folders are followed, but each folder is entered through links by one way at most, the
    shortest: the work stays in proportion to what is there, however it is linked.

    Args:
        root: A folder.
        aside: Folders and files that are left out by whatever name, such as a site's own cache.

    Raises:
        OSError: The root itself cannot be listed.
    """
    with os.scandir(root):
        pass
    yield from sorted(_Walk(root, aside).entries(), key=lambda entry: entry.path.parts)


_Identity = tuple[int, int]  # of a file or folder, by whatever name


@dataclass(frozen=True)
class _Folder:
    """A folder that is to be entered, those that lead there, and whether a link is among them."""

    path: Path
    identity: _Identity
    above: frozenset[_Identity]
    is_linked: bool


class _Walk:
    """Enters every folder in its own place, and besides by one way through links."""

    def __init__(self, root: Path, aside: frozenset[Path]) -> None:
        self._root = root
        self._aside = {_identity(path.stat()) for path in aside if path.exists()}
        self._inner = deque([_Folder(root, _identity(root.stat()), frozenset(), is_linked=False)])
        self._linked = deque[_Folder]()
        self._entered = set[_Identity]()  # through a link

    def entries(self) -> Iterator[Entry]:
        """Yield all, in no order."""
        while self._inner or self._linked:
            folder = self._inner.popleft() if self._inner else self._linked.popleft()
            if folder.identity in folder.above or (folder.is_linked
                                                   and folder.identity in self._entered):
                yield _nameless(folder.path, Kind.AGAIN)
                continue
            if folder.is_linked:
                self._entered.add(folder.identity)
            try:
                with os.scandir(folder.path) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError:
                yield _nameless(folder.path, Kind.CLOSED)
                continue
            names = {entry.name for entry in entries}
            for entry in entries:
                if not _is_second_half(entry.name, names):
                    yield from self._take(folder, entry)

    def _take(self, folder: _Folder, entry: os.DirEntry[str]) -> Iterator[Entry]:
        """Yield what is to be said of one thing in a folder, or note it down, if it is a folder."""
        path, status = folder.path / entry.name, None
        try:
            status = entry.stat()
        except OSError as error:
            if error.errno not in _NOWHERE:
                yield _nameless(path, Kind.CLOSED)
                return
        if status is not None and _identity(status) in self._aside:
            return
        is_folder = status is not None and stat.S_ISDIR(status.st_mode)
        if _LITTER.fullmatch(entry.name) and entry.name not in _KEPT_HIDDEN:
            is_hidden = is_folder and entry.name.lower() not in _SYSTEM_FOLDERS
            yield _nameless(path, Kind.HIDDEN if is_hidden else Kind.LITTER)
        elif is_folder and status is not None:
            is_linked = folder.is_linked or entry.is_symlink()
            (self._linked if is_linked else self._inner).append(
                _Folder(path, _identity(status), folder.above | {folder.identity}, is_linked))
        elif status is not None and not stat.S_ISREG(status.st_mode):
            yield _nameless(path, Kind.SPECIAL)
        else:
            described = describe(path, self._root)
            is_lost = status is None and entry.is_symlink() and described.kind is Kind.OTHER
            yield _nameless(path, Kind.LOST) if is_lost else described


def _nameless(path: Path, kind: Kind) -> Entry:
    """Return an entry of what no name tells anything about."""
    return Entry(path, kind, None, None, None)


def _identity(status: os.stat_result) -> _Identity:
    return (status.st_dev, status.st_ino)


def _is_second_half(name: str, beside: set[str]) -> bool:
    """Tell whether a file is the .img of a pair, which its .hdr stands for."""
    return any(name.lower().endswith(image) and name[: -len(image)] + header in beside
               for image, header in ((".img", ".hdr"), (".img.gz", ".hdr.gz")))
