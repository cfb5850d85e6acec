"""The part of BIDS that is needed here: where anatomical scans are, and what their names say.

A small reader of our own for `sub-*/[ses-*/]anat/`; see https://bids-specification.readthedocs.io.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braing3n.data.covariates import Cell, modality_of
from braing3n.errors import CohortError

_SCAN = re.compile(r"(?P<stem>sub-.+_(T1w|T2w|FLAIR|T1c))\.nii(\.gz)?", re.IGNORECASE)
_ENTITY = re.compile(r"[a-zA-Z]+-[a-zA-Z0-9+]+")
# Parts of a complex image: not intensities.
_NOT_INTENSITY = {"phase", "real", "imag"}


@dataclass(frozen=True)
class BidsScan:
    """One anatomical scan of a BIDS dataset.

    Attributes:
        path: The file.
        subject: The subject's folder, such as `sub-01`.
        session: The session's folder, such as `ses-02`, or None.
        modality: `T1w`, `T2w`, `FLAIR` or `T1c`.
    """

    path: Path
    subject: str
    session: str | None
    modality: str


def find_scans(root: Path) -> tuple[list[BidsScan], list[Path]]:
    """Return the anatomical scans under a BIDS dataset, and NIfTI files there that are not used.

    Derivatives, source data and files whose names begin with a dot are not looked at.

    Raises:
        CohortError: The folder has no `sub-*` folders, or none with a scan.
    """
    scans: list[BidsScan] = []
    others: list[Path] = []
    subjects = [folder for folder in _entries(root) if _is_folder(folder, "sub-")]
    for subject in subjects:
        sessions = [folder for folder in _entries(subject) if _is_folder(folder, "ses-")]
        for folder in (subject, *sessions):
            session = None if folder == subject else folder.name
            for path in _entries(folder / "anat"):
                scan = _parse(path, subject.name, session)
                if scan is not None:
                    scans.append(scan)
                elif ".nii" in path.name.lower():
                    others.append(path)
    if not scans:
        raise _nothing(root, subjects, others)
    return scans, others


def _parse(path: Path, subject: str, session: str | None) -> BidsScan | None:
    """Return the scan that a file's name describes; None where name and folders do not fit."""
    match = _SCAN.fullmatch(path.name)
    if match is None:
        return None
    *entities, suffix = match["stem"].split("_")
    if not all(_ENTITY.fullmatch(entity) for entity in entities):
        return None
    if subject not in entities or (session is not None and session not in entities):
        return None
    values = dict(entity.split("-", 1) for entity in entities)
    modality = modality_of(suffix, contrast="ce" in values)
    if modality is None or values.get("part") in _NOT_INTENSITY:
        return None
    return BidsScan(path, subject, session, modality)


class Sidecars:
    """JSON files that describe scans, by BIDS' inheritance: nearer and more specific ones win.

    Args:
        root: The dataset; sidecars are looked for from here down to a scan's own folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, list[Path]] = {}
        self._read: dict[Path, dict[str, Any]] = {}
        self.damaged: list[Path] = []

    def field_strength(self, scan: Path) -> Cell | None:
        """Return what the sidecars say of the magnet, or None."""
        value: Any = None
        for sidecar in self._of(scan):
            value = self._load(sidecar).get("MagneticFieldStrength", value)
        return None if value is None else Cell("MagneticFieldStrength", str(value))

    def _of(self, scan: Path) -> list[Path]:
        """Return the sidecars that apply to a scan, the most general first."""
        *entities, suffix = re.sub(r"\.nii(\.gz)?$", "", scan.name, flags=re.I).split("_")
        inner = scan.parent.relative_to(self._root).parts
        folders = [self._root.joinpath(*inner[:depth]) for depth in range(len(inner) + 1)]
        found = []
        for folder in folders:
            if folder not in self._listed:
                self._listed[folder] = [path for path in _entries(folder)
                                        if path.name.endswith(".json")]
            fitting = [path for path in self._listed[folder]
                       if path.stem.split("_")[-1] == suffix
                       and set(path.stem.split("_")[:-1]) <= set(entities)]
            found += sorted(fitting, key=lambda path: len(path.stem.split("_")))
        return found

    def _load(self, path: Path) -> dict[str, Any]:
        if path not in self._read:
            try:
                content = json.loads(path.read_text(encoding="utf-8-sig"))
            except (OSError, ValueError):
                content = None
            if not isinstance(content, dict):
                self.damaged.append(path)
                content = {}
            self._read[path] = content
        return self._read[path]


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted, without dot files; nothing where there is no folder."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CohortError(f"{folder} cannot be listed", expected="a readable folder",
                          found=error.strerror or "an error", fix="check its permissions"
                          ) from error


def _is_folder(path: Path, prefix: str) -> bool:
    return path.name.startswith(prefix) and path.is_dir()


def _nothing(root: Path, subjects: list[Path], others: list[Path]) -> CohortError:
    """Say why no scan was found, and point at the right folder if it is one level down."""
    expected = "a BIDS dataset: sub-*/[ses-*/]anat/sub-*_T1w.nii.gz (or T2w, FLAIR, T1c)"
    if subjects:
        found = f"{len(subjects)} sub-* folders without such a file"
        found += f", but with {others[0].relative_to(root)}" if others else ""
        return CohortError(f"{root} holds no scan", expected=expected, found=found,
                           fix="check the names of the files, or list them in a table")
    entries = _entries(root)
    inner = [entry for entry in entries if entry.is_dir()
             and any(_is_folder(path, "sub-") for path in _entries(entry))]
    names = ", ".join(entry.name for entry in entries[:6])
    if inner:
        fix = "name one of " + ", ".join(str(entry) for entry in inner[:6])
    else:
        fix = "name the folder that holds the sub-* folders, or list the scans in a table"
    return CohortError(f"{root} is not a BIDS dataset", expected=expected, fix=fix,
                       found=f"no sub-* folder; {names or 'the folder is empty'}")
