"""How a partition was asked for, so that it can be made again where its rows had no images."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLACE = "FOLDER"
_READERS = ("--cohort", "--mapping")


@dataclass(frozen=True)
class Asked:
    """The arguments of `braing3n sim partition`, without --out.

    Attributes:
        sources: As given: paths, or NAME=PATH.
        options: Each option that was given, and its value.
    """

    sources: tuple[str, ...]
    options: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {"sources": list(self.sources), "options": list(self.options)}

    def with_images(self) -> str:
        """Return the command that makes the same partition of folders that hold images.

        A folder is named where images are beside the rows; else it is for the reader to fill in.
        """
        given = [_with_images(source, is_named=not set(_READERS) & set(self.options))
                 for source in self.sources]
        return shlex.join(["braing3n", "sim", "partition", *given, *self.options, "--out",
                           "NEW_FOLDER"])


def asked_of(record: Mapping[str, Any]) -> Asked:
    """Return how the partition of a `partition.json` was asked for; of an old one, by placeholders."""
    said = record.get("asked") or {"sources": [PLACE], "options": ["--cohort", "NAME"]}
    return Asked(tuple(said["sources"]), tuple(said["options"]))


def _with_images(source: str, *, is_named: bool) -> str:
    """Return the folder that a source's images are in, after its name if it has one."""
    name, mark, place = source.partition("=") if is_named and "=" in source else ("", "", source)
    path = Path(place).expanduser()
    is_table = path.is_file()
    folder = path.parent if is_table else path
    patterns = ("sub-*/**/*.nii*",) if is_table else ("sub-*/**/*.nii*", "*/sub-*/**/*.nii*")
    has_images = any(True for pattern in patterns for _ in folder.glob(pattern))
    return f"{name}{mark}{folder if has_images else PLACE}"
