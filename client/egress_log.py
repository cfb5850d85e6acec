"""The site's own log of what left it: manifests, one a line, each before its reply goes."""

from pathlib import Path

from braing3n.errors import LedgerError, ProtocolError
from braing3n.files import (
    ZEROS,
    append_text,
    cut_unfinished,
    digest_bytes,
    last_line,
    locked,
    whole_lines,
)
from braing3n.manifests import (
    Content,
    Manifest,
    manifest_line,
    read_chain,
    read_manifest,
    sign_manifest,
)
from braing3n.moments import to_text, utc_now
from braing3n.signing import open_key

LOG_NAME = "egress.jsonl"
KEY_NAME, PUBLIC_NAME, LOCK_NAME = "egress.key", "egress.pub", "egress.lock"


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
        cut_unfinished(path)
        last = last_line(path)
        if last is None and is_begun:
            raise _lost(path, "nothing")
        before = None if last is None else _manifest(path, last)
        manifest = sign_manifest(
            key, content, seq=0 if before is None else before.seq + 1,
            prev=ZEROS if last is None else digest_bytes(last),
            time=to_text(utc_now()))
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
    try:
        return list(read_chain(whole_lines(path)))
    except ProtocolError as error:
        raise _lost(path, error.what) from error


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
