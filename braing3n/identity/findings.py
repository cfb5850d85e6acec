"""What in a site's files may name a person: where it is and of which kind, never what it says."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from braing3n.data.findings import Finding, finding
from braing3n.data.nifti.extensions import (
    AFTER_VOXELS,
    GZIP_NAME,
    OTHER_PLACES,
    TEXT_FIELDS,
    Extension,
)
from braing3n.data.nifti.texts import read_texts
from braing3n.data.people.table_text import UnreadableError
from braing3n.identity.columns import column_hits, said_units
from braing3n.identity.content import Hit, Kind, describe_hits, in_order
from braing3n.identity.dicom import dicom_hits, is_dicom
from braing3n.identity.free_text import text_hits
from braing3n.identity.json_text import (
    MAX_BYTES,
    UnreadableJsonError,
    clean_json,
    is_about_dataset,
)
from braing3n.identity.raw_bytes import decoded, is_text
from braing3n.identity.sheets import read_sheets
from braing3n.identity.text_files import text_file_hits
from braing3n.identity.texts import has_absolute_path, kinds
from braing3n.identity.values import is_number_of_patient, is_removed

__all__ = ["header_findings", "is_dicom", "name_identity", "refused_identity",
           "sidecar_identity", "table_identity", "text_identity"]

# Registered codes of extensions that hold numbers alone: b-values, directions, timing.
_NUMERIC_CODES = {20, 22, 24, 26, 28, 36}
_DICOM_CODE = 2


def header_findings(path: Path, header: Any, extensions: Iterable[Extension]) -> list[Finding]:
    """Judge a NIfTI header's texts and its extensions.

    Args:
        path: The scan.
        header: nibabel's Nifti1Header or Nifti2Header, as it is in the file.
        extensions: As from `braing3n.data.nifti.extensions.read_extensions`.
    """
    hits = [Hit((name,), kind) for name in TEXT_FIELDS if name in header
            for kind in _field_kinds(header[name].item())]
    found = [finding("identity-header", path, describe_hits(hits))] if hits else []
    for number, (code, content) in enumerate(extensions, start=1):
        inside = _extension_hits(code, content)
        if inside:
            where = OTHER_PLACES.get(code, f"extension {number} (code {code})")
            found.append(finding("identity-extension", path, f"{where}: {describe_hits(inside)}"))
    return found


def refused_identity(path: Path) -> list[Finding]:
    """Judge whom a file names that is refused for another reason, so that one check tells both."""
    texts = read_texts(path)
    return [] if texts is None else header_findings(path, *texts)


def sidecar_identity(path: Path) -> list[Finding]:
    """Judge a JSON file; one that is damaged is judged as text."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return [finding("identity-sidecar", path, describe_hits([Hit((), Kind.OPAQUE)]))]
        text = decoded(path.read_bytes())
    except OSError:
        return []  # `sidecar-damaged` says so
    try:
        _, hits = clean_json(text, is_about_dataset=is_about_dataset(path.name))
    except UnreadableJsonError:
        hits = text_hits(text)
    return _findings("identity-sidecar", path, hits)


def table_identity(path: Path) -> list[Finding]:
    """Judge a table's columns; one that cannot be read has the finding `table-unreadable` instead."""
    try:
        sheets = read_sheets(path)
    except (UnreadableError, OSError):
        return []
    hits, units = [], said_units(path)
    for sheet in sheets:
        prefix = f"sheet {sheet.number}: " if len(sheets) > 1 else ""
        hits += [Hit((prefix + hit.label,), hit.kind)
                 for hit in column_hits(sheet.header, sheet.rows, units)]
    return _findings("identity-table", path, hits)


def text_identity(path: Path) -> list[Finding]:
    """Judge a text file, such as a log or a note; other files have no findings."""
    try:
        return _findings("identity-text", path, text_file_hits(path))
    except OSError:
        return []  # the check of the folder says that it cannot be read


def name_identity(path: Path, root: Path) -> list[Finding]:
    """Judge the names of a file and of the folders that it is in, below `root`.

    Returns:
        One finding for each name, with the path of that file or folder: the same for every file
        in a folder, so that a set of them has it once.
    """
    found = []
    here = root
    for part in path.relative_to(root).parts:
        here /= part
        what = kinds(part, is_label=True)
        if what:
            kind = "the file's name" if here == path else "the folder's name"
            found.append(finding("identity-name", here, f"{kind} holds {' and '.join(what)}"))
    return found


def _findings(code: str, path: Path, hits: Sequence[Hit]) -> list[Finding]:
    """Return what was found, and apart from it the ages, which are written otherwise, not removed."""
    ages = [hit for hit in hits if hit.kind is Kind.AGE]
    others = [hit for hit in hits if hit.kind is not Kind.AGE]
    return [finding(name, path, describe_hits(part))
            for name, part in ((code, others), ("age-over-89", ages)) if part]


def _field_kinds(raw: bytes) -> tuple[Kind, ...]:
    """Judge one text field of a header."""
    text = decoded(raw)
    if is_removed(text):
        return ()
    return in_order((*kinds(text, is_label=True), *((Kind.PATH,) if has_absolute_path(text) else ()),
                     *((Kind.RECORD,) if is_number_of_patient(text) else ())))


def _extension_hits(code: int, content: bytes) -> Sequence[Hit]:
    """Judge what is not the header or voxels: DICOM by its attributes, a file's name as one."""
    content = content.rstrip(b"\0 ")
    if not content:
        return ()
    if code == _DICOM_CODE:
        return dicom_hits(content)
    if code == GZIP_NAME:
        return [Hit((), kind) for kind in kinds(decoded(content), is_label=True)]
    if not is_text(content):
        # Voxels that the header does not count are often left over.
        return () if code in _NUMERIC_CODES or code == AFTER_VOXELS else (Hit((), Kind.OPAQUE),)
    text = decoded(content)
    try:
        return clean_json(text)[1]
    except UnreadableJsonError:
        return (*text_hits(text), *((Hit((), Kind.PATH),) if has_absolute_path(text) else ()))
