"""The bytes of a file, decompressed and checked to the last one.

Python's own gzip reader would do, but it tells a stream that is cut from one that is damaged by
its text alone, and reads a third as fast.
"""

import hashlib
import zlib
from pathlib import Path
from types import TracebackType

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 18
# A stream that goes on for longer after the last voxel is no scan.
_MAX_TRAILING = 1 << 28
# So much of it is kept, for it may be text.
_MAX_TAIL = 1 << 20
# Flags of a gzip header: further fields, the original name, a comment.
_EXTRA, _NAME, _COMMENT = 4, 8, 16


class BrokenStreamError(Exception):
    """A gzip stream ends too early, or is damaged.

    Attributes:
        code: The rule that it breaks.
        found: What was found.
    """

    def __init__(self, code: str, found: str) -> None:
        super().__init__(found)
        self.code = code
        self.found = found


class ByteStream:
    """A file to be read once, from its first byte to its last; gzip is told by its first bytes.

    Attributes:
        is_compressed: Whether the file is a gzip stream.
        gzip_name: The name that the file had when it was compressed, as gzip keeps it; or empty.
        gzip_comment: A comment that gzip keeps, or empty.
        tail: The first bytes, at most 1 MiB, of what `finish` read over.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened or read; from any method.
        BrokenStreamError: The gzip stream is broken; from any method that reads.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._digest = hashlib.sha256()
        self._ready = bytearray()  # decompressed, not yet asked for
        self._start = self._raw()
        self._pending = self._start
        self.is_compressed = self._start.startswith(GZIP_MAGIC)
        self._gzip = zlib.decompressobj(wbits=31) if self.is_compressed else None
        self.gzip_name, self.gzip_comment = _gzip_texts(self._start)
        self.tail = b""

    def __enter__(self) -> "ByteStream":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._file.close()

    @property
    def start(self) -> bytes:
        """The file's first bytes, as they are on the disk."""
        return self._start[:512]

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer where the stream ends."""
        while len(self._ready) < size:
            chunk = self._next()
            if not chunk:
                break
            self._ready += chunk
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def read_into(self, target: bytearray) -> int:
        """Fill `target` as far as the stream goes, and return how many bytes that were."""
        view = memoryview(target)
        filled = 0
        while filled < len(target):
            chunk = bytes(self._ready) or self._next()
            if not chunk:
                break
            self._ready.clear()
            fitting = min(len(chunk), len(target) - filled)
            view[filled : filled + fitting] = chunk[:fitting]
            filled += fitting
            self._ready += chunk[fitting:]
        return filled

    def skip(self, size: int) -> int:
        """Read over `size` bytes, and return how many there were."""
        skipped = 0
        while skipped < size:
            chunk = bytes(self._ready) or self._next()
            if not chunk:
                break
            fitting = min(len(chunk), size - skipped)
            self._ready[:] = chunk[fitting:]
            skipped += fitting
        return skipped

    def finish(self) -> tuple[int, str]:
        """Read to the end, where gzip compares its checksum.

        Returns:
            How many bytes were left, and the sha256 of the file as it is on the disk.
        """
        left = len(self._ready)
        tail = self._ready[:_MAX_TAIL]
        self._ready.clear()
        while chunk := self._next():
            left += len(chunk)
            tail += chunk[: _MAX_TAIL - len(tail)]
            if left > _MAX_TRAILING:
                raise BrokenStreamError("gzip-damaged", "a stream that goes on without end")
        self.tail = bytes(tail)
        return left, self._digest.hexdigest()

    def _raw(self) -> bytes:
        chunk = self._file.read(_CHUNK)
        self._digest.update(chunk)
        return chunk

    def _next(self) -> bytes:
        """Return some more decompressed bytes; nothing at the end."""
        while True:
            chunk, self._pending = self._pending or self._raw(), b""
            if self._gzip is None:
                return chunk
            if not chunk:
                self._check_ended()
                return b""
            try:
                out = self._gzip.decompress(chunk, _CHUNK * 4)
            except zlib.error as error:
                found = ("content that does not agree with its checksum" if "incorrect" in str(error)
                         else "bytes that cannot be decompressed")
                raise BrokenStreamError("gzip-damaged", found) from error
            self._pending = self._gzip.unconsumed_tail
            if self._gzip.eof:
                self._begin_member(self._gzip.unused_data)
            if out:
                return out

    def _begin_member(self, rest: bytes) -> None:
        """Go on with the next of several streams in one file, or with what is no stream."""
        rest = rest or self._raw()
        # Zeros are padding. Anything else is not ours; it counts as trailing bytes.
        self._gzip = zlib.decompressobj(wbits=31) if rest.startswith(GZIP_MAGIC) else None
        self._pending = rest

    def _check_ended(self) -> None:
        if self._gzip is not None and not self._gzip.eof:
            raise BrokenStreamError("gzip-truncated", "the end of the file within the stream")


def _gzip_texts(start: bytes) -> tuple[bytes, bytes]:
    """Return the name and the comment in the header of a gzip stream (RFC 1952), if it has them."""
    flags = start[3] if start.startswith(GZIP_MAGIC) and len(start) > 3 else 0
    place = 10
    if flags & _EXTRA:
        place += 2 + int.from_bytes(start[place : place + 2], "little")
    texts = []
    for flag in (_NAME, _COMMENT):
        end = start.find(b"\0", place) if flags & flag else place - 1
        texts.append(start[place : max(place, end)])
        place = end + 1
    return texts[0], texts[1]
