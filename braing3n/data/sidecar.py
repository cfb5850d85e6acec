"""JSON files that describe scans: read with bounds, and joined by BIDS' inheritance principle."""

import json
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from braing3n.data.folders import entries_of

# Real ones have a few kilobytes; some hold a whole DICOM header, or lists of slices.
MAX_BYTES = 16 * 2**20
MAX_DEPTH = 200

_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
# Folders and files that stay in memory: scans come in order, and what many share is asked often.
_NUM_FOLDERS, _NUM_FILES = 64, 256

_Applies = tuple[frozenset[str], Path]  # a sidecar's entities as in its name, and the sidecar


@dataclass(frozen=True)
class Sidecar:
    """What was read.

    Attributes:
        content: The fields; none where it is damaged. NaN and infinities, which JSON does not
            know but some writers write, are numbers.
        damage: What is wrong with the file, in words that hold nothing of its content; or None.
        num_repeated: Fields that are there twice in one object with different values. The last
            value is the one in `content`.
    """

    content: Mapping[str, Any] = field(hash=False)
    damage: str | None = None
    num_repeated: int = 0


def read_sidecar(path: Path) -> Sidecar:
    """Read a JSON object; a file that is none, or cannot be read, is damaged and no exception."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for its writer
            return Sidecar({}, "no file but a folder or a device")
        if status.st_size > MAX_BYTES:
            return Sidecar({}, f"more than {MAX_BYTES // 2**20} MiB")
        with path.open("rb") as stream:
            raw = stream.read(status.st_size)
    except OSError as error:
        is_dangling = path.is_symlink() and isinstance(error, FileNotFoundError)
        return Sidecar({}, "a link to a file that is not there" if is_dangling
                       else f"cannot be read ({error.strerror or 'an error'})")
    return _parse(raw)


class Sidecars:
    """What a dataset's sidecars say of its scans.

    A sidecar applies to a scan in its folder or below, whose suffix it has and whose entities
    include all of its own. The nearer folder wins, then the one with more entities.

    Args:
        root: The dataset; sidecars are looked for from here down to a scan's own folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._above = lru_cache(maxsize=_NUM_FOLDERS)(self._folders_to)
        self._index = lru_cache(maxsize=_NUM_FOLDERS)(_index)
        self._read = lru_cache(maxsize=_NUM_FILES)(read_sidecar)
        self._damaged: dict[Path, None] = {}
        self._disputed: dict[Path, None] = {}

    @property
    def damaged(self) -> list[Path]:
        """Sidecars that applied to a scan and could not be read, and folders that could not."""
        return list(self._damaged)

    @property
    def disputed(self) -> list[Path]:
        """Sidecars that contradict one another where BIDS puts neither first; neither is used."""
        return list(self._disputed)

    def of(self, scan: Path) -> Mapping[str, Any]:
        """Return all that the sidecars say of a scan.

        Args:
            scan: A file below the root, which need not exist.

        Raises:
            ValueError: It is not below the root.
        """
        *pairs, suffix = _ENDING.sub("", scan.name).split("_")
        merged: dict[str, Any] = {}
        for folder in self._above(scan.parent):
            for group in self._applying(folder, suffix.casefold(), set(pairs)):
                self._merge(group, merged)
        return merged

    def _folders_to(self, folder: Path) -> list[Path]:
        """Return the root and all below it down to a folder."""
        inner = folder.relative_to(self._root).parts
        return [self._root.joinpath(*inner[:depth]) for depth in range(len(inner) + 1)]

    def _applying(self, folder: Path, suffix: str, pairs: set[str]) -> Iterator[list[Path]]:
        """Yield a folder's sidecars for such a scan, those with as many entities together."""
        try:
            index = self._index(folder)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                self._damaged[folder] = None
            return
        if not index:
            return
        fitting = [found for pair in ("", *pairs)
                   for found in index.get((suffix, pair), ()) if found[0] <= pairs]
        fitting.sort(key=_num_entities)
        for _, group in groupby(fitting, key=_num_entities):
            yield [path for _, path in group]

    def _merge(self, group: list[Path], merged: dict[str, Any]) -> None:
        """Let a group's fields replace those before it; what they differ in becomes unknown."""
        said: dict[str, Any] = {}
        differ: set[str] = set()
        for path in group:
            sidecar = self._read(path)
            if sidecar.damage is not None:
                self._damaged[path] = None
            differ |= {name for name in said.keys() & sidecar.content.keys()
                       if said[name] != sidecar.content[name]}
            said.update(sidecar.content)
        merged.update(said)
        for name in differ:
            del merged[name]
        if differ:
            self._disputed.update(dict.fromkeys(group))


def _num_entities(sidecar: _Applies) -> int:
    return len(sidecar[0])


def _index(folder: Path) -> dict[tuple[str, str], list[_Applies]]:
    """Return a folder's sidecars by suffix and by the one of their entities that is rarest there.

    A folder may hold the sidecars of thousands of scans; so each scan looks at a few of them.

    Raises:
        OSError: The folder cannot be listed.
    """
    names = [(entry.name[:-5].split("_"), Path(entry.path)) for entry in entries_of(folder)
             if entry.name[-5:].lower() == ".json"]
    uses = Counter(pair for (*pairs, _), _ in names for pair in pairs)
    index = defaultdict(list)
    for (*pairs, suffix), path in names:
        rarest = min(sorted(pairs), key=uses.__getitem__, default="")
        index[suffix.casefold(), rarest].append((frozenset(pairs), path))
    return index


def _parse(raw: bytes) -> Sidecar:
    joined = _Joined()
    try:
        text = raw.decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=joined.join)
        # How deep Python itself goes depends on its version.
        if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(content):
            raise RecursionError
    except UnicodeDecodeError:
        damage = "not UTF-8"
    except json.JSONDecodeError as error:
        damage = f"not JSON (line {error.lineno})" if text.strip() else "not JSON (empty)"
    except RecursionError:
        damage = "nested too deeply"
    except ValueError:  # the one that is left: Python bounds the digits of a whole number
        damage = "a number with too many digits"
    else:
        if isinstance(content, dict):
            return Sidecar(content, None, joined.num_repeated)
        damage = "JSON, but not an object"
    return Sidecar({}, damage)


class _Joined:
    """Makes objects of pairs, and counts names that come again with another value."""

    def __init__(self) -> None:
        self.num_repeated = 0

    def join(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        joined = dict(pairs)
        if len(joined) < len(pairs):
            values: dict[str, Any] = {}
            for name, value in pairs:
                self.num_repeated += name in values and values[name] != value
                values[name] = value
        return joined


def _is_deep(content: object) -> bool:
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        level = [inner for item in level if isinstance(item, dict | list)
                 for inner in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return True
