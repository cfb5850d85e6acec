"""The part of BIDS that is needed here: where anatomical scans are, and what their names say.

A small reader of our own for `sub-*/[ses-*/]anat/`; see https://bids-specification.readthedocs.io.
DECISIONS.md says why it is not one of the readers that others maintain.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from braing3n.data.folders import entries_of, is_file_or_lost, is_folder, is_regular
from braing3n.data.people.covariates import modality_of
from braing3n.errors import CohortError

_SCAN = re.compile(r"(?P<stem>sub-.+_(T1w|T2w|FLAIR|T1c))\.nii(\.gz)?", re.IGNORECASE)
_ENTITY = re.compile(r"[a-zA-Z]+-[a-zA-Z0-9+]+")
_SUBJECTS, _SESSIONS_OR_ANAT, _ANAT = (
    re.compile(name, re.DOTALL) for name in ("sub-.*", "ses-.*|anat", "anat"))
# Nearly such a folder, or not where it belongs: what is in it is not looked at, so it is told.
_NEARLY = re.compile(r"(sub|ses)([-_ ]|\d).*|anat", re.IGNORECASE | re.DOTALL)
# Entities of what is not the intensities of one whole head: an inversion of MP2RAGE, a part of
# the field of view or of a file, one hemisphere, a label map, a mask that names its scan.
_NOT_A_HEAD = {"inv", "chunk", "split", "hemi", "label", "mod"}
_NOT_INTENSITY = {"phase", "real", "imag"}  # parts of a complex image
_NO_AGENT = {"none", "no"}


@dataclass(frozen=True)
class BidsScan:
    """One anatomical scan of a BIDS dataset.

    Attributes:
        path: The file.
        subject: The subject's folder, such as `sub-01`.
        session: The session, such as `ses-02`, or None.
        modality: `T1w`, `T2w`, `FLAIR` or `T1c`.
        entities: What the name says, such as `sub`, `acq`, `rec`, `run` and `echo`, in its order.
    """

    path: Path
    subject: str
    session: str | None
    modality: str
    entities: Mapping[str, str] = field(default_factory=dict, hash=False)


def find_scans(root: Path) -> tuple[list[BidsScan], list[Path]]:
    """Return the anatomical scans under a BIDS dataset, and what is in their way and not used.

    A link to a scan is a scan, also where it leads nowhere: whoever reads it says so. Links to
    folders are followed; as no folder is deeper than `anat`, a circle of links ends.

    Returns:
        The scans, by subject and session; and other NIfTI files of the dataset, its subjects,
        sessions and `anat` folders, folders whose names are nearly right, and folders that
        cannot be listed.
        Derivatives, source data, other kinds of data and names that begin with a dot are not
        looked at.

    Raises:
        CohortError: The folder cannot be listed, has no `sub-*` folders, or none with a scan.
    """
    scans: list[BidsScan] = []
    others: list[Path] = []
    try:
        subjects = _folders(entries_of(root), _SUBJECTS, others)
    except OSError as error:
        raise CohortError(f"{root} cannot be listed", expected="a readable folder",
                          found=error.strerror or "an error", fix="check its permissions"
                          ) from error
    for subject in subjects:
        for anat, session in _anat_folders(subject, others):
            for entry in _inside(anat, others):
                path = Path(entry.path)
                scan = _parse(path, subject.name, session)
                if scan is not None and is_file_or_lost(entry):
                    scans.append(scan)
                elif ".nii" in path.name.lower():
                    others.append(path)
    if not scans:
        raise _nothing(root, subjects, others)
    return scans, others


def _anat_folders(subject: Path, others: list[Path]) -> Iterator[tuple[Path, str | None]]:
    """Yield a subject's `anat` folders, each with the session whose folder it is in, or None."""
    for folder in _folders(_inside(subject, others), _SESSIONS_OR_ANAT, others):
        if folder.name == "anat":
            yield folder, None
        else:
            for anat in _folders(_inside(folder, others), _ANAT, others):
                yield anat, folder.name


def _folders(entries: list[os.DirEntry[str]], wanted: re.Pattern[str], others: list[Path],
             ) -> list[Path]:
    """Return the folders that are wanted; add NIfTI files and what is nearly a folder of BIDS."""
    found = []
    for entry in entries:
        if wanted.fullmatch(entry.name) and is_folder(entry):
            found.append(Path(entry.path))
        elif ".nii" in entry.name.lower() or (_NEARLY.fullmatch(entry.name)
                                              and not is_regular(entry)):
            others.append(Path(entry.path))
    return found


def _inside(folder: Path, others: list[Path]) -> list[os.DirEntry[str]]:
    """Return what is in a folder, if it is there; add it to `others` if it cannot be listed."""
    try:
        return entries_of(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        others.append(folder)
        return []


def _parse(path: Path, subject: str, session: str | None) -> BidsScan | None:
    """Return the scan that a file's name describes; None where name and folders do not fit."""
    match = _SCAN.fullmatch(path.name)
    if match is None:
        return None
    *pairs, suffix = match["stem"].split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if _ENTITY.fullmatch(pair))
    if len(entities) < len(pairs) or entities.get("sub") != subject[4:]:
        return None
    named = f"ses-{entities['ses']}" if "ses" in entities else None
    if session not in (None, named):
        return None
    modality = modality_of(suffix, contrast=entities.get("ce", "none").lower() not in _NO_AGENT)
    if modality is None or _NOT_A_HEAD & entities.keys() or entities.get("part") in _NOT_INTENSITY:
        return None
    return BidsScan(path, subject, named, modality, entities)


def _nothing(root: Path, subjects: list[Path], others: list[Path]) -> CohortError:
    """Say why no scan was found, and point at the right folder if it is one level down."""
    expected = "a BIDS dataset: sub-*/[ses-*/]anat/sub-*_T1w.nii.gz (or T2w, FLAIR, T1c)"
    if subjects:
        found = f"{len(subjects)} sub-* folders without such a file"
        found += f", but with {others[0].relative_to(root)}" if others else ""
        return CohortError(f"{root} holds no scan", expected=expected, found=found,
                           fix="check the names of the files, or list them in a table")
    entries = _inside(root, [])
    inner = [entry.path for entry in entries if is_folder(entry)
             and _folders(_inside(Path(entry.path), []), _SUBJECTS, [])]
    names = ", ".join(entry.name for entry in entries[:6])
    if inner:
        fix = "name one of " + ", ".join(inner[:6])
    else:
        fix = "name the folder that holds the sub-* folders, or list the scans in a table"
    return CohortError(f"{root} is not a BIDS dataset", expected=expected, fix=fix,
                       found=f"no sub-* folder; {names or 'the folder is empty'}")
