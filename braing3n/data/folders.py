"""What is in a folder, where links may lead nowhere and permissions may be missing."""

import os
from pathlib import Path


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, by name, without names that begin with a dot.

    Raises:
        OSError: The folder is not there, or cannot be listed.
    """
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")),
                      key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether this is a folder or a link to one, or what only listing it can tell."""
    try:
        return entry.is_dir()
    except OSError:  # such as links in a circle
        return True


def is_regular(entry: os.DirEntry[str]) -> bool:
    """Tell whether this is a file or a link to one: no folder, pipe or device."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_file_or_lost(entry: os.DirEntry[str]) -> bool:
    """Tell whether this is a file, or a link to one that is not there or cannot be reached."""
    if is_regular(entry):
        return True
    try:
        entry.stat()
    except OSError:
        return True
    return False
