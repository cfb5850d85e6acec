"""Files that are there whole or not at all, and digests of what is in them."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from braing3n.errors import OutputError

ZEROS = "0" * 64  # in a chain of digests, what stands before the first
_BLOCK = 1 << 16
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.")


@contextmanager
def replacing(path: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes the place of `path` at once.

    A crash leaves the old file, or none: never half of the new one.

    Args:
        path: The file to write.
        is_durable: Whether it must be on the disk before this returns. What can be made again,
            and is checked when it is read, need not wait for the disk.

    Yields:
        The path to write to. It keeps the file's suffix, as writers choose formats by it.

    Raises:
        OSError: The folder cannot be written to, or there is something other than a file: a device
            such as /dev/null must not be lost to a file of its name.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "Something other than a file is there", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid4().hex}.{path.name}")
    try:
        yield part
        if is_durable:
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
        part.replace(path)
        if is_durable:
            _sync(path.parent)  # the new name as well
    finally:
        part.unlink(missing_ok=True)


def check_free(out: Path) -> None:
    """Check that a folder to write to is new or empty, so that nothing is lost or mixed up.

    Raises:
        OutputError: Something is there: files, a file, or a link.
    """
    found = ("a link" if out.is_symlink() else
             "" if not out.exists() else
             "a file" if not out.is_dir() else
             "files in it" if any(out.iterdir()) else "")
    if found:
        raise OutputError(f"{out} is taken", expected="a new or empty folder", found=found,
                          fix="name another --out, or remove it")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with replacing(path, is_durable=is_durable) as part:
        part.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Append `text` to `path` as UTF-8, and wait until it is on the disk.

    A crash may leave a part of it. Of a file of lines, read `whole_lines`, and `cut_unfinished` before
    the next one is appended.
    """
    with path.open("ab") as stream:
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


def whole_lines(path: Path) -> list[bytes]:
    """Return a file's lines without their ends; none where there is no file.

    A last one that has no end was not finished, and is left out: nobody was told that it is there.
    """
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1].splitlines()


def last_line(path: Path) -> bytes | None:
    """Return the last of `whole_lines`; the ones before are not read, as logs grow long."""
    if not path.exists():
        return None
    with path.open("rb") as stream:
        end = _end_of_line(stream, path.stat().st_size)
        if not end:
            return None
        begin = _end_of_line(stream, end - 1)
        stream.seek(begin)
        return stream.read(end - 1 - begin)


def cut_unfinished(path: Path) -> None:
    """Cut off a last line that has no end. `append_text` brings that to the disk, with what follows."""
    if not path.exists():
        return
    size = path.stat().st_size
    with path.open("rb") as stream:
        whole = _end_of_line(stream, size)
    if whole < size:
        os.truncate(path, whole)


def _end_of_line(stream: BinaryIO, before: int) -> int:
    """Return where the last line that ends in the first `before` bytes ends; 0 where none does."""
    while before:
        begin = max(0, before - _BLOCK)
        stream.seek(begin)
        place = stream.read(before - begin).rfind(b"\n")
        if place >= 0:
            return begin + place + 1
        before = begin
    return 0


def remove_unfinished(folder: Path, *, is_deep: bool = False) -> None:
    """Remove what processes that were killed had not finished writing; see `replacing`.

    Args:
        folder: A folder that nobody is writing to.
        is_deep: Whether also in all folders below it.
    """
    for path in list(folder.glob("**/.*" if is_deep else ".*")):
        if _UNFINISHED.match(path.name) and not path.is_symlink():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, waits: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; the system lets go of it when the process ends, however it does.

    Args:
        path: The lock's file.
        waits: Whether to wait for whoever holds it.

    Raises:
        BlockingIOError: Another process, or another place in this one, holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        yield


@contextmanager
def alone_in(folder: Path, lock: str, who: str) -> Iterator[None]:
    """Keep others of one kind out of a folder until this one ends, however it does.

    Args:
        folder: It is made where it is not there.
        lock: Name of the lock's file in it.
        who: What works there, for the message.

    Raises:
        OutputError: Another one is in it.
    """
    try:
        with locked(folder / lock):
            yield
    except BlockingIOError as error:
        raise OutputError(f"{folder} is in use", expected=f"a folder in which no {who} is at work",
                          found=f"another {who} that writes to it",
                          fix="wait until it ends, or choose another --out") from error


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """Return the one byte string that stands for `value`: sorted keys, no blanks, UTF-8.

    Raises:
        ValueError: A number is NaN or infinite, which JSON cannot say.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest_bytes(content: bytes) -> str:
    """Return the sha256 of `content` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 lower-case hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
