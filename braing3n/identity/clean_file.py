"""One file of a site, cleaned into a copy, or the reason why it has to stay behind."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from braing3n.data.findings import RefusedScanError, RefusedTableError
from braing3n.data.nifti.stored import scan_files
from braing3n.data.people.table_text import UnreadableError
from braing3n.data.tree import Kind
from braing3n.identity.clean_scan import copy_scan
from braing3n.identity.clean_table import clean_table
from braing3n.identity.content import Hit, describe_hits
from braing3n.identity.dicom import is_dicom
from braing3n.identity.json_text import (
    MAX_BYTES,
    UnreadableJsonError,
    clean_json,
    is_about_dataset,
)
from braing3n.identity.text_files import text_file_hits

# What BIDS wants beside the data, for people; nothing here reads it.
_DOCUMENT = re.compile(r"(readme|changes|license|licence|notice|contributing|code_of_conduct|citation"
                       r"|\.bidsignore)(\.(md|rst|txt|cff))?", re.IGNORECASE)


class Reason(StrEnum):
    """Why a file is not in the copy."""

    DICOM = "DICOM, which names the patient"
    LITTER = "left behind by a system, or a hidden folder"
    AGAIN = "a link to a folder that is copied from another place"
    LOST = "a link that leads nowhere"
    SPECIAL = "a pipe, a socket or a device, which is never opened"
    DOCUMENT = "a text about the data set, which nothing here reads"
    TEXT = "a text that names a patient, perhaps"
    NAME = "its name, or a folder's, may name a person"
    DAMAGED = "damaged, or cannot be read"
    KEY = "the column that says whose row it is may name a person"
    WORKBOOK = "a workbook, whose other parts cannot be cleaned"
    OPAQUE = "a kind of file that cannot be looked into"
    OUTSIDE = "listed in the table, and outside of its folder"

    @property
    def advice(self) -> str:
        """What a person has to do about it; empty where nothing."""
        return _ADVICE.get(self, "")


_ADVICE = {
    Reason.NAME: "rename it with a pseudonym, and keep the list of pseudonyms apart",
    Reason.LOST: "fetch what it points to, or remove it",
    Reason.SPECIAL: "put the file itself in its place, or remove it",
    Reason.DAMAGED: "run `braing3n check`, and copy or convert it again",
    Reason.KEY: "write pseudonyms into that column, the same as in the names of files",
    Reason.WORKBOOK: "save it as TSV or CSV in UTF-8",
    Reason.OPAQUE: "look whether it is needed; what training reads is NIfTI, JSON, TSV, CSV and XLSX",
    Reason.OUTSIDE: "put it into the folder, and correct the table",
}


@dataclass(frozen=True)
class Stays:
    """A file that is not copied.

    Attributes:
        reason: Why.
        detail: More about it; no value that may name a person.
    """

    reason: Reason
    detail: str = ""


# What stays behind whatever it holds.
_LEFT = {Kind.LITTER: Reason.LITTER, Kind.HIDDEN: Reason.LITTER, Kind.AGAIN: Reason.AGAIN,
         Kind.LOST: Reason.LOST, Kind.SPECIAL: Reason.SPECIAL}


def clean_file(source: Path, target: Path, kind: Kind) -> list[str] | Stays:
    """Copy one file without what may name a person.

    Args:
        source: The file; of a .hdr/.img pair, the header.
        target: Where to, with the same name. Its folder is made.
        kind: What it is taken for.

    Returns:
        What was removed, or why nothing was written.

    Raises:
        OSError: The copy cannot be written, or the file not be read.
    """
    stays = _why_not(source, kind)
    if stays is not None:
        return stays
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _CLEANERS[kind](source, target)
    except (RefusedScanError, RefusedTableError) as error:
        _forget(target)
        # Not what was found: that may quote a column's name, which here may be a person's.
        return Stays(Reason.DAMAGED, error.finding.rule.defect)
    except (UnreadableError, UnreadableJsonError) as error:
        return Stays(Reason.DAMAGED, str(error))
    except OSError:
        _forget(target)
        raise


def _why_not(source: Path, kind: Kind) -> Stays | None:
    """Return why a file is of no kind that can be cleaned, or None where it is of one."""
    if kind in _LEFT:
        return Stays(_LEFT[kind])
    # A pipe behind a link would be waited for.
    if not all(file.is_file() for file in scan_files(source)):
        return Stays(Reason.DAMAGED, "a link to nowhere, or half of a .hdr/.img pair")
    if is_dicom(source):
        return Stays(Reason.DICOM)
    if kind in _CLEANERS:
        return None
    if text_file_hits(source):
        return Stays(Reason.TEXT)
    return Stays(Reason.DOCUMENT if _DOCUMENT.fullmatch(source.name) else Reason.OPAQUE)


def _clean_scan(source: Path, target: Path) -> list[str]:
    return copy_scan(scan_files(source), scan_files(target))


def _clean_sidecar(source: Path, target: Path) -> list[str]:
    if source.stat().st_size > MAX_BYTES:
        raise UnreadableJsonError(f"more than {MAX_BYTES // 2**20} MiB")
    content = source.read_bytes()
    try:
        text, hits = clean_json(content.decode("utf-8-sig"),
                                is_about_dataset=is_about_dataset(source.name))
    except UnicodeDecodeError as error:
        raise UnreadableJsonError("not UTF-8") from error
    target.write_bytes(text.encode() if hits else content)
    return [describe_hits(hits)] if hits else []


def _clean_table(source: Path, target: Path) -> list[str] | Stays:
    if source.suffix.lower() == ".xlsx":
        return Stays(Reason.WORKBOOK)
    cleaned = clean_table(source)
    if cleaned.lost_keys:
        return Stays(Reason.KEY, ", ".join(cleaned.lost_keys))
    target.write_bytes(cleaned.content)
    what = describe_hits(Hit((hit.label,), hit.kind) for hit in cleaned.removed)
    return [what] if what else []


def _forget(target: Path) -> None:
    """Remove what was written of a file that turned out to be damaged."""
    for half in (".hdr", ".img"):
        stem = re.sub(r"\.hdr(?=(\.gz)?$)", half, target.name, flags=re.IGNORECASE)
        target.with_name(stem).unlink(missing_ok=True)


_CLEANERS: dict[Kind, Callable[[Path, Path], list[str] | Stays]] = {
    Kind.SCAN: _clean_scan, Kind.LABELS: _clean_scan, Kind.IMAGE: _clean_scan,
    Kind.SIDECAR: _clean_sidecar, Kind.TABLE: _clean_table}
