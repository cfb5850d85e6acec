"""The bytes of a ledger on the disk, and the lock on them."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from braing3n.errors import LedgerError
from braing3n.files import locked, replacing

LOCK_NAME = "ledger.lock"
RESTORE = ("restore the newest copy of the ledger together with its key, and compare it with the "
           "coordinator's receipts; until then the site releases nothing")

_POLL_S = 0.02
_UNFINISHED = f".{'[0-9a-f]' * 32}.ledger.*"  # see `braing3n.files.replacing`


@contextmanager
def alone(folder: Path, wait_s: float) -> Iterator[None]:
    """Make the folder where it is not there, and keep other writers out of its ledger.

    Raises:
        LedgerError: Another one is in it for more than `wait_s` seconds, or it cannot be made.
    """
    deadline = time.monotonic() + wait_s
    with ExitStack() as stack:
        while True:
            try:
                _make(folder)
                stack.enter_context(locked(folder / LOCK_NAME))
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise LedgerError(
                        f"the ledger in {folder} is in use", expected="one process at a time",
                        found=f"another one that kept it for {wait_s:g} s",
                        fix="wait until it ends, and end what should not run") from error
                time.sleep(_POLL_S)
            except OSError as error:
                raise _unwritable(folder, error) from error
        for part in folder.glob(_UNFINISHED):  # of writers that were killed
            part.unlink(missing_ok=True)
        yield


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    above = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(above)  # a power cut must not take the folder, and what was spent with it
    finally:
        os.close(above)


def is_begun(path: Path, key: Path, public: Path, trace: Path | None) -> bool:
    """Return whether there is a ledger that has entries, after checking that nothing of it is lost.

    The empty file is there before the key, the key before the first entry, and that before the
    public key. So whatever else is missing was lost, and not left out as beginning was cut short.

    Args:
        path: The ledger.
        key: Its secret key.
        public: Its public key.
        trace: What only a site with a ledger has, where there is that.

    Raises:
        LedgerError: It is gone or empty, or the key is.
    """
    was_begun = trace is not None or public.exists()
    used = "the ledger of what this site has spent, as it was in use"
    if not path.exists():
        if was_begun or key.exists():
            raise _lost(f"{path} is gone", used, trace)
        return False
    if not path.stat().st_size:
        if was_begun:
            raise _lost(f"{path} is empty", used, trace)
        return False
    if not key.exists():
        raise LedgerError(f"the key of {path} is gone", expected=f"{key}, which signed its entries",
                          found="nothing", fix=f"{RESTORE}. Without its key a ledger cannot go on: see "
                          "docs/privacy-budget.md, What to do when")
    return True


def _lost(what: str, expected: str, trace: Path | None) -> LedgerError:
    if trace is None:
        return LedgerError(what, expected=expected, found="nothing", fix=RESTORE)
    return LedgerError(what, expected=expected,
                       found=f"nothing, but {trace}, which no site has without a ledger",
                       fix=f"{RESTORE}. Only if nothing was ever released from there, remove {trace}")


def read(path: Path) -> bytes:
    """Return a ledger file's bytes.

    Raises:
        LedgerError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise LedgerError(f"{path} cannot be read", expected="a site's ledger",
                          found=error.strerror or type(error).__name__, fix=RESTORE) from error


def create(path: Path, content: bytes) -> None:
    """Write a whole file, readable by its owner alone, in the place of what was there.

    Raises:
        LedgerError: It cannot be written; what was there is there still.
    """
    try:
        with replacing(path) as part:
            part.touch(mode=0o600)
            part.write_bytes(content)
    except OSError as error:
        raise _unwritable(path, error) from error


def append(path: Path, size: int, content: bytes) -> None:
    """Append to a file of `size` bytes in a single write, and wait until it is on the disk.

    Raises:
        LedgerError: It could not be written, or the file has another size.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        if os.fstat(descriptor).st_size != size:
            raise LedgerError(f"{path} was changed while it was open", expected=f"{size} bytes",
                              found=f"{os.fstat(descriptor).st_size}",
                              fix="find out who writes to it; only the site's own process may")
        if os.write(descriptor, content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError as error:
        with suppress(OSError):  # where even that fails, the next one to open it cuts it off
            os.ftruncate(descriptor, size)
        raise _unwritable(path, error) from error
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> LedgerError:
    return LedgerError(f"{path} cannot be written", expected="a disk with room, and permission",
                       found=error.strerror or type(error).__name__,
                       fix="make room or correct its permissions; nothing is released meanwhile")
