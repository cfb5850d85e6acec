"""Secrets on the disk: files and folders for their owner alone, whole or not at all."""

import stat
from pathlib import Path

from braing3n.errors import ConfigError
from braing3n.secret_files import OTHERS, no_room, read_secret, write_secret


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read, from its first instant.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        write_secret(path, content)
    except OSError as error:
        raise unwritable(path, error) from error


def read_private(path: Path, limit: int = 1 << 16) -> bytes:
    """Read a secret of at most `limit` bytes.

    Raises:
        ConfigError: It cannot be read, is longer, or others may read it.
    """
    try:
        content = read_secret(path, limit + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", expected="a file that its owner can read",
                          found=error.strerror or type(error).__name__,
                          fix="correct its permissions, or restore it from a backup") from error
    if len(content) > limit:
        raise ConfigError(f"{path} is too long", expected=f"at most {limit} bytes", found="more",
                          fix="restore it from a backup")
    return content


def make_private_folder(path: Path) -> None:
    """Make a folder that its owner alone may enter, where it is not there.

    Raises:
        ConfigError: It cannot be made, or it is open to others.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise unwritable(path, error) from error
    if mode & OTHERS:
        raise ConfigError(f"{path} is open to others", expected="mode 0700: its owner alone",
                          found=f"mode {mode:04o}",
                          fix=f"find out who may have read it, then chmod 700 {path}")


def is_there(path: Path) -> bool:
    """Return whether something is at a path, be it a link to nothing.

    Raises:
        ConfigError: This user may not look, or it is no path.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(f"nobody can tell what is at {path}", expected="a path that may be looked at",
                          found=error.strerror or type(error).__name__,
                          fix="run the command as the user whose folder it is, or correct its "
                          "permissions") from error
    return True


def check_absent(path: Path) -> None:
    """Check that nothing is overwritten.

    Raises:
        ConfigError: Something is there, or nobody can tell.
    """
    if is_there(path):
        raise ConfigError(f"{path} is taken", expected="a place where nothing is",
                          found="a folder" if path.is_dir() else "a file",
                          fix="name another place, or move it away")


def unwritable(path: Path, error: OSError) -> ConfigError:
    """Return what is raised where a file cannot be written."""
    return no_room(f"{path} cannot be written", error)
