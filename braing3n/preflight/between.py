"""What only shows between files: names, leftovers, one scan twice, two kinds of scans."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from braing3n.data.findings import Finding, finding
from braing3n.data.tree import Entry, Kind, stem_of
from braing3n.identity.findings import name_identity
from braing3n.listing import first_of
from braing3n.preflight.outcome import VolumeReport

_SHOWN = 5
# Names that every program and every system can carry.
_PLAIN = re.compile(r"[A-Za-z0-9._+-]+")
_LOWER_ENDINGS = re.compile(r".*\.(nii|nii\.gz|hdr|img|hdr\.gz|img\.gz)")
# What describes a dataset, and gradients that go with diffusion images.
_ABOUT = re.compile(r"(readme|changes|license|citation).*|\.bidsignore|.*\.(bval|bvec)|.*\.tsv\.gz",
                    re.IGNORECASE)
_COPY = re.compile(r"(copy|kopie|copie|copia)\b|\(\d+\)", re.IGNORECASE)
# What is told once for a folder, with the names.
_ONCE_A_FOLDER = {Kind.LITTER: "file-litter", Kind.LOST: "link-lost", Kind.AGAIN: "link-again"}
# What is told of each by its kind alone; by its ending, where there are no words for it.
_SINGLE = {
    Kind.HIDDEN: ("folder-hidden", "a hidden folder"),
    Kind.SPECIAL: ("file-special", "neither a file nor a folder"),
    Kind.CLOSED: ("file-unreadable", "what cannot be listed or reached"),
    Kind.FOREIGN: ("format-foreign", ""),
    Kind.FOREIGN_TABLE: ("table-foreign", ""),
}


def between_files(root: Path, entries: Sequence[Entry]) -> list[Finding]:
    """Return findings about names and kinds of files."""
    found = list[Finding]()
    grouped = {kind: defaultdict[Path, list[str]](list) for kind in _ONCE_A_FOLDER}
    unread, unused = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
    for entry in entries:
        found += name_identity(entry.path, _shared(entry.path, root))
        match entry.kind:
            case Kind.LITTER | Kind.LOST | Kind.AGAIN as kind:
                grouped[kind][entry.path.parent].append(entry.path.name)
                if kind is Kind.LITTER:
                    continue  # a system's name for it, or one of a file that is here
            case Kind.IMAGE:
                unused[stem_of(entry.path.name).rpartition("_")[2]].append(entry.path)
            case Kind.OTHER if not _ABOUT.fullmatch(entry.path.name):
                unread[entry.path.suffix.lower() or "without an ending"].append(entry.path)
            case kind if kind in _SINGLE:
                code, what = _SINGLE[kind]
                found.append(finding(code, entry.path, what or "a file ending in "
                                     + "".join(entry.path.suffixes[-2:])))
        found += _of_name(entry)
    found += [finding(_ONCE_A_FOLDER[kind], folder, _listed(names))
              for kind, folders in grouped.items() for folder, names in folders.items()]
    found += [finding(code, root, _counted(groups, root))
              for code, groups in (("file-not-read", unread), ("file-unused", unused)) if groups]
    if not any(entry.kind is Kind.SCAN for entry in entries):
        found.append(finding("scans-none", root, f"{len(entries)} files of other kinds"))
    return list(dict.fromkeys(found))  # a folder's name is met with each of its files


def between_scans(root: Path, volumes: Sequence[VolumeReport]) -> list[Finding]:
    """Return findings about scans that cannot both be right."""
    by_digest = defaultdict[str, list[Path]](list)
    stripped, whole = list[str](), list[str]()
    for volume in volumes:
        if volume.facts is not None and volume.facts.voxels_digest is not None:
            by_digest[volume.facts.voxels_digest].append(volume.entry.path)
            (stripped if volume.facts.is_stripped else whole).append(volume.entry.path.name)
    found = [finding("scan-twice", paths[0], "the same voxels as "
                     + _listed(_relative(path, root) for path in paths[1:]))
             for paths in by_digest.values() if len(paths) > 1]
    if stripped and whole:
        fewer, kind = ((stripped, "stripped") if len(stripped) <= len(whole)
                       else (whole, "not stripped"))
        found.append(finding("strip-mixed", root, f"{len(stripped)} stripped, {len(whole)} not; "
                             f"{kind}: {_listed(fewer)}"))
    return found


def _of_name(entry: Entry) -> list[Finding]:
    name = entry.path.name
    if entry.kind is Kind.PARTIAL:
        return [finding("file-name", entry.path, "a name that hides that it is a NIfTI file",
                        fix="finish the copy, or rename it so that it ends in .nii or .nii.gz; it "
                            "is not read")]
    if entry.kind not in (Kind.SCAN, Kind.LABELS, Kind.IMAGE):
        return []
    if not _PLAIN.fullmatch(name):
        strange = sorted({mark for mark in name if not _PLAIN.fullmatch(mark)})
        return [finding("file-name", entry.path, "a name with "
                        + ", ".join("a blank" if mark == " " else mark for mark in strange))]
    if _COPY.search(name):
        return [finding("file-name", entry.path, "the name of a copy")]
    if not _LOWER_ENDINGS.fullmatch(name):
        return [finding("file-name", entry.path, "an ending in capitals")]
    return []


def _shared(path: Path, root: Path) -> Path:
    """Return the folder below which a file's names are judged: the root, if it lies in it.

    A table may list scans elsewhere; where its folder lies besides says nothing of them.
    """
    return root if path.is_relative_to(root) else Path(os.path.commonpath((path, root.absolute())))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _counted(groups: Mapping[str, list[Path]], root: Path) -> str:
    """Return how many files of each kind there are, and the first of them."""
    return _listed(f"{len(paths)} {kind}: {_relative(min(paths), root)}"
                   + (" and others" if len(paths) > 1 else "") for kind, paths in groups.items())


def _listed(names: Iterable[str]) -> str:
    return first_of(sorted(names), _SHOWN)
