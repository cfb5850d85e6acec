"""Arrays on disk, found by what they were made from; a damaged one counts as missing."""

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braing3n.files import digest_bytes, replacing

_DIGEST_BYTES = 32


def entry_key(*parts: str) -> str:
    """Return the key of what is made from `parts`, each a digest or a name: 64 hex digits."""
    return digest_bytes("\n".join(parts).encode())


class ArrayCache:
    """Arrays kept as float16 under a folder.

    An entry is a .npy file followed by the sha256 of its bytes. Entries are written whole or not
    at all, so that several processes may share a folder.

    Args:
        folder: Made when something is first stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, key: str) -> bool:
        """Tell whether the entry is there and of its full length, without reading it whole."""
        try:
            with self._path(key).open("rb") as stream:
                shape, _, dtype = _read_header(stream)
                expected = stream.tell() + int(np.prod(shape)) * dtype.itemsize + _DIGEST_BYTES
                return stream.seek(0, io.SEEK_END) == expected
        except (OSError, ValueError):
            return False

    def load(self, key: str) -> NDArray[np.float16] | None:
        """Return the entry, or None where there is none; remove one that is damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != digest:
            path.unlink(missing_ok=True)
            return None
        array: NDArray[np.float16] = np.load(io.BytesIO(body), allow_pickle=False)
        return array

    def store(self, key: str, array: NDArray[np.floating]) -> None:
        """Keep `array` as float16.

        Raises:
            ValueError: A value is NaN, or too large for float16.
        """
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(array, dtype=np.float16)
        if not np.isfinite(half).all():
            raise ValueError("an array with values that float16 cannot hold is not cached")
        stream = io.BytesIO()
        np.save(stream, half, allow_pickle=False)
        body = stream.getvalue()
        with replacing(self._path(key), is_durable=False) as part:
            part.write_bytes(body + hashlib.sha256(body).digest())

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.npy"


def _read_header(stream: io.BufferedReader) -> tuple[tuple[int, ...], bool, np.dtype]:
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("not a .npy file of this cache")
    return np.lib.format.read_array_header_1_0(stream)
