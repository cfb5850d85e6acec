"""Arrays on disk, found by what they were made from; a damaged one counts as missing."""

import contextlib
import functools
import io
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braing3n.data.envelope import Checked, Envelope
from braing3n.data.room import TOUCH_EVERY_S, Room, folder_bytes
from braing3n.errors import OutputError
from braing3n.files import digest_bytes, replacing


def entry_key(*parts: str) -> str:
    """Return the key of what is made from `parts`, each a digest or a name: 64 hex digits."""
    return digest_bytes("\n".join(parts).encode())


class ArrayCache:
    """Arrays kept as float16 under a folder.

    An entry is a .npy file in an envelope, which is bound to the key. Entries are written whole
    or not at all, so that several processes may share a folder.

    Args:
        folder: Made when something is first stored.
        envelope: How entries are checked or encrypted.
        limit_bytes: What the entries may take together; None is without limit. See `Room`.
    """

    def __init__(self, folder: Path, envelope: Envelope | None = None,
                 limit_bytes: int | None = None) -> None:
        self._folder = folder
        self._envelope = envelope or Checked()
        self._room = None if limit_bytes is None else Room(folder, limit_bytes)

    def has(self, key: str) -> bool:
        """Tell whether there is an entry. Whether it is undamaged is seen when it is loaded."""
        return self._path(key).exists()

    def has_room(self, num_bytes: int) -> bool:
        """Tell whether an entry of this size can be kept without removing another."""
        return self._room is None or self._room.fits(num_bytes)

    def load(self, key: str) -> NDArray[np.float16] | None:
        """Return the entry, or None where there is none; remove one that is damaged."""
        path = self._path(key)
        try:
            with path.open("rb", buffering=0) as stream:
                found = os.fstat(stream.fileno())
                content = bytearray(found.st_size)
                stream.readinto(content)
        except FileNotFoundError:
            return None
        body = self._envelope.unwrap(key, content)
        if body is None:
            path.unlink(missing_ok=True)
            return None
        if abs(time.time() - found.st_mtime) > TOUCH_EVERY_S:
            with contextlib.suppress(OSError):  # another process may have removed it
                os.utime(path)
        return _array(body)

    def store(self, key: str, array: NDArray[np.floating]) -> bool:
        """Keep `array` as float16, unless the limit leaves no room; tell whether it is kept.

        Raises:
            ValueError: A value is NaN, or too large for float16.
            OutputError: It cannot be written.
        """
        stream = io.BytesIO()
        np.save(stream, _half(array), allow_pickle=False)
        content = self._envelope.wrap(key, stream.getvalue())
        if self._room is not None and not self._room.take(len(content)):
            return False
        self._write(self._path(key), content)
        return True

    def load_record(self, name: str) -> bytes | None:
        """Return what was stored under a name; None where that is missing or damaged."""
        try:
            content = bytearray(self._record_path(name).read_bytes())
        except FileNotFoundError:
            return None
        body = self._envelope.unwrap(name, content)
        return None if body is None else bytes(body)

    def store_record(self, name: str, body: bytes) -> None:
        """Keep bytes beside the arrays, in an envelope as well; no limit removes them.

        Raises:
            OutputError: They cannot be written.
        """
        self._write(self._record_path(name), self._envelope.wrap(name, body))

    def num_bytes(self) -> int:
        """Return what the entries take on the disk."""
        return folder_bytes(self._folder)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{self._envelope.suffix}"

    def _record_path(self, name: str) -> Path:
        return self._folder / f"{name}{self._envelope.suffix}"

    def _write(self, path: Path, content: bytes) -> None:
        try:
            with replacing(path, is_durable=False) as part:
                part.write_bytes(content)
        except OSError as error:
            raise OutputError(f"the cache in {self._folder} cannot be written",
                              expected="a folder that can be written, on a disk with room",
                              found=error.strerror or type(error).__name__,
                              fix="free space there, or set `cache: limit_gb:` in the site's "
                                  "settings") from error


def _half(array: NDArray[np.floating]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = np.asarray(array, dtype=np.float16, order="C")
    if not np.isfinite(half).all():
        raise ValueError("an array with values that float16 cannot hold is not cached")
    return half


def _array(body: memoryview) -> NDArray[np.float16]:
    """Return the array of a .npy file without copying it."""
    start = 10 + int.from_bytes(body[8:10], "little")
    return np.frombuffer(body, np.float16, offset=start).reshape(_shape(bytes(body[:start])))


@functools.cache  # numpy takes as long to parse a header as to read a small volume
def _shape(header: bytes) -> tuple[int, ...]:
    stream = io.BytesIO(header)
    np.lib.format.read_magic(stream)
    shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    return tuple(shape)
