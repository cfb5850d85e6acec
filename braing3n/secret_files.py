"""Secrets on the disk: for their owner alone from their first instant, whole or not at all."""

import os
import stat
from pathlib import Path

from braing3n.errors import ConfigError
from braing3n.files import replacing

OTHERS = 0o077  # of a mode: what others than the owner may do


def write_secret(path: Path, content: bytes) -> None:
    """Write a secret.

    Raises:
        OSError: It cannot be written; see `no_room`.
    """
    with replacing(path) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)


def read_secret(path: Path, limit: int) -> bytes:
    """Read the first bytes of a secret, at most `limit`.

    Raises:
        OSError: It cannot be read.
        ConfigError: Others may read or write it.
    """
    with path.open("rb") as stream:
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        content = stream.read(limit)
    if mode & OTHERS:
        raise ConfigError(f"{path} is open to others", expected="mode 0600 or 0400: its owner alone",
                          found=f"mode {mode:04o}",
                          fix=f"find out who may have read it, then chmod 600 {path}")
    return content


def no_room(what: str, error: OSError) -> ConfigError:
    """Return what is raised where something cannot be written.

    Args:
        what: What cannot.
        error: Why not.
    """
    return ConfigError(what, expected="a folder with room to write to",
                       found=error.strerror or type(error).__name__,
                       fix="make room, or correct the folder's permissions")
