"""The site's own log of what left it: manifests, one a line, each before its reply goes."""

from datetime import UTC, datetime
from pathlib import Path

from braing3n.errors import LedgerError, ProtocolError
from braing3n.files import append_text, digest_bytes, locked
from braing3n.manifests import (
    ZEROS,
    Content,
    Manifest,
    manifest_line,
    read_chain,
    read_manifest,
    sign_manifest,
)
from braing3n.signing import open_key

LOG_NAME = "egress.jsonl"
KEY_NAME, PUBLIC_NAME, LOCK_NAME = "egress.key", "egress.pub", "egress.lock"
_LONGEST_LINE = 1 << 20


def append_manifest(folder: Path, content: Content) -> Manifest:
    """Write down what is about to leave; it is on the disk before this returns.

    Args:
        folder: The site's own folder.
        content: What leaves.

    Raises:
        LedgerError: The log is damaged or gone: what left before could not be shown any more.
        ConfigError: Its key is unusable.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / LOG_NAME
    with locked(folder / LOCK_NAME, waits=True):
        is_begun = (folder / PUBLIC_NAME).exists()
        key = open_key(folder / KEY_NAME)
        last = _last_line(path)
        if last is None and is_begun:
            raise _lost(path, "nothing")
        before = None if last is None else _manifest(path, last)
        manifest = sign_manifest(
            key, content, seq=0 if before is None else before.seq + 1,
            prev=ZEROS if last is None else digest_bytes(last),
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        if not path.exists():
            path.touch(mode=0o600)
        append_text(path, manifest_line(manifest).decode() + "\n")
        # After the first line: a log that is empty beside a public key was lost, not just begun.
        key.publish(folder / PUBLIC_NAME)
    return manifest


def load_manifests(folder: Path) -> list[Manifest]:
    """Read and check the whole log; a line that was not finished says nothing, as nothing left then.

    Raises:
        LedgerError: It is damaged.
    """
    path = folder / LOG_NAME
    if not path.exists():
        return []
    content = path.read_bytes()
    try:
        return list(read_chain(content[: content.rfind(b"\n") + 1].splitlines()))
    except ProtocolError as error:
        raise _lost(path, error.what) from error


def _last_line(path: Path) -> bytes | None:
    """Return the last finished line, after cutting off what a crash left behind it."""
    if not path.exists():
        return None
    with path.open("rb+") as stream:
        size = stream.seek(0, 2)
        begin = max(0, size - 2 * _LONGEST_LINE)
        stream.seek(begin)
        tail = stream.read()
        whole = tail[: tail.rfind(b"\n") + 1]
        stream.truncate(begin + len(whole))
    lines = whole.splitlines()
    return lines[-1] if lines else None


def _manifest(path: Path, line: bytes) -> Manifest:
    try:
        return read_manifest(line)
    except ProtocolError as error:
        raise _lost(path, error.what) from error


def _lost(path: Path, found: str) -> LedgerError:
    return LedgerError(f"{path} is not the log of what left this site", found=found,
                       expected="a signed manifest of each reply, as it was written",
                       fix="restore it with its key from a backup; until then nothing leaves. To begin "
                       f"anew, which every auditor will see, move {KEY_NAME}, {PUBLIC_NAME} and the "
                       "log away together")
