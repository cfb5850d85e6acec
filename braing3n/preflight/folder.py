"""A whole folder, or all that a table lists: every file's findings, and those between files."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from braing3n.config import DataConfig
from braing3n.data.bids import find_scans
from braing3n.data.findings import Finding, Severity, finding
from braing3n.data.people.mapping import ColumnMapping
from braing3n.data.tree import Entry, Kind, describe, stem_of
from braing3n.data.walk import walk
from braing3n.errors import CohortError
from braing3n.identity.findings import is_dicom, sidecar_identity, table_identity, text_identity
from braing3n.preflight.between import between_files, between_scans
from braing3n.preflight.known import what_is_known
from braing3n.preflight.labels import LabelReport, check_labels, grid_findings
from braing3n.preflight.outcome import Preflight, VolumeReport, Wishes
from braing3n.preflight.sidecars import sidecar_findings
from braing3n.preflight.tables import cohort_findings, listing_findings, table_findings
from braing3n.preflight.volume import check_other_image, check_scan

_ORDER = list(Severity)
_PLAIN = Wishes()
# What is found of a file whose name says NIfTI, and whose content is of another format.
_OTHER_FORMATS = {"nifti-header", "half-missing", "gzip-missing", "format-analyze"}

Report = VolumeReport | LabelReport | tuple[Finding, ...]


def check_folder(root: Path, wishes: Wishes = _PLAIN) -> Preflight:
    """Look at every file of a folder: a BIDS dataset, or any folder with NIfTI files.

    Raises:
        CohortError: A folder cannot be listed.
    """
    try:
        entries = _only_used(root, list(walk(root, wishes.aside)))
    except OSError as error:
        raise CohortError(f"{error.filename} cannot be listed", expected="a readable folder",
                          found=error.strerror or "an error", fix="check its permissions") from error
    scanned = {entry.subject for entry in entries
               if entry.subject is not None and entry.kind is Kind.SCAN}
    found = cohort_findings(root, scanned, wishes.mapping, _imaged(root, entries)) if scanned else []
    return replace(_check(root, entries, found, root / "participants.tsv", wishes),
                   known=what_is_known(DataConfig(folder=root, mapping=wishes.mapping_file)))


def check_listed(table: Path, scans: Iterable[Path], wishes: Wishes = _PLAIN) -> Preflight:
    """Look at a table, the scans that it lists, and their sidecars.

    Args:
        table: A site's table of scans.
        scans: Their files.
        wishes: How to look.
    """
    root = table.parent
    files = list(dict.fromkeys(scans))
    sidecars = {path.with_name(f"{stem_of(path.name)}.json") for path in files}
    entries = [_describe_anywhere(path, root)
               for path in (table, *files, *sorted(path for path in sidecars if path.is_file()))]
    entries = [replace(entry, kind=Kind.SCAN) if entry.path in set(files) else entry
               for entry in entries]
    found = listing_findings(table, wishes.mapping)
    return replace(_check(root, entries, found, table, wishes),
                   known=what_is_known(DataConfig(table=table, mapping=wishes.mapping_file)))


def _describe_anywhere(path: Path, root: Path) -> Entry:
    """Describe a file that may lie outside the table's folder."""
    return describe(path, root if path.is_relative_to(root) else path.parent)


def _check(root: Path, entries: Sequence[Entry], found: list[Finding], table: Path,
           wishes: Wishes) -> Preflight:
    """Check the entries, of which `table` is the one that the mapping explains."""
    reports = _check_all(entries, table, wishes)
    volumes = [report for report in reports if isinstance(report, VolumeReport)]
    labels = [report for report in reports if isinstance(report, LabelReport)]
    for report in reports:
        found += report if isinstance(report, tuple) else report.findings
    found += [*between_scans(root, volumes), *grid_findings(labels, volumes)]
    found = [*between_files(root, entries), *_misnamed(found), *_merged(found)]
    if wishes.refuses_skulls:
        found = [finding("skull-refused", one.path, one.found) if one.rule.code == "skull-present"
                 else one for one in found]
    found.sort(key=lambda f: (_ORDER.index(f.rule.severity), f.rule.code, str(f.path)))
    return Preflight(root, len(entries), tuple(found), tuple(volumes))


def _imaged(root: Path, entries: Iterable[Entry]) -> set[str]:
    """Return the subjects with images of other kinds in their own folders, such as time series."""
    return {entry.subject for entry in entries
            if entry.kind is Kind.IMAGE and entry.modality is None and entry.subject is not None
            and entry.path.relative_to(root).parts[0] == entry.subject}


def _only_used(root: Path, entries: list[Entry]) -> list[Entry]:
    """In a BIDS dataset, take for scans only those that training would find there."""
    try:
        used = {scan.path for scan in find_scans(root)[0]}
    except CohortError:
        return entries  # no dataset: every image may be a scan
    walked = {entry.path for entry in entries}
    # Those behind a link whose folder was entered through another are looked at all the same.
    return [*(replace(entry, kind=Kind.IMAGE) if entry.kind is Kind.SCAN and entry.path not in used
              else entry for entry in entries),
            *(describe(path, root) for path in sorted(used - walked))]


def _check_all(entries: Sequence[Entry], table: Path, wishes: Wishes) -> list[Report]:
    """Look into every file, several at a time: reading and numpy leave Python's lock alone."""
    mapping = wishes.mapping
    described = _what_sidecars_describe(entries)

    def check(entry: Entry) -> Report:
        has_image = (entry.path.parent, stem_of(entry.path.name).rpartition("_")[2]) in described
        if entry.kind is Kind.TABLE:
            return _check_table(entry.path, mapping if entry.path == table else None)
        return _check_entry(entry, has_image, wishes.with_pictures)

    reports: list[Report] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, report in enumerate(pool.map(check, entries), start=1):
            reports.append(report)
            if wishes.progress is not None:
                wishes.progress(done, len(entries))
    return reports


def _what_sidecars_describe(entries: Sequence[Entry]) -> set[tuple[Path, str]]:
    """Return every folder that an image lies in or below, with the suffix of its name.

    In BIDS a sidecar describes images of its suffix in its folder and below.
    """
    described = set()
    for entry in entries:
        if entry.kind in (Kind.SCAN, Kind.IMAGE, Kind.LABELS):
            suffix = stem_of(entry.path.name).rpartition("_")[2]
            described |= {(folder, suffix) for folder in entry.path.parents}
    return described


def _check_table(path: Path, mapping: ColumnMapping | None) -> tuple[Finding, ...]:
    found = table_findings(path, mapping)
    # Ages are looked for twice: by who knows a mapping's unit, and in tables that are of no people.
    knows_ages = mapping is not None or any(one.rule.code == "age-over-89" for one in found)
    identity = [one for one in table_identity(path)
                if not (knows_ages and one.rule.code == "age-over-89")]
    return (*found, *identity)


def _check_entry(entry: Entry, has_image: bool, with_picture: bool) -> Report:
    match entry.kind:
        case Kind.SCAN:
            return check_scan(entry, with_picture=with_picture)
        case Kind.LABELS:
            return check_labels(entry)
        case Kind.IMAGE:
            return check_other_image(entry)
        case Kind.SIDECAR:
            return (*sidecar_findings(entry.path, has_image), *sidecar_identity(entry.path))
    return _check_unread(entry)


def _check_unread(entry: Entry) -> tuple[Finding, ...]:
    """Tell DICOM from what else is not read."""
    if entry.kind in (Kind.OTHER, Kind.LOST, Kind.ARCHIVE) and is_dicom(entry.path):
        return (finding("dicom-left", entry.path, "a DICOM file"),)
    if entry.kind is Kind.ARCHIVE:
        return (finding("archive-unread", entry.path, f"a file ending in {entry.path.suffix}"),)
    return tuple(text_identity(entry.path)) if entry.kind is Kind.OTHER else ()


def _merged(found: Iterable[Finding]) -> list[Finding]:
    """Say once for a folder what is so of thousands of its files."""
    kept, dicom = [], dict[Path, int]()
    for one in found:
        if one.rule.code == "dicom-left":
            dicom[one.path.parent] = dicom.get(one.path.parent, 0) + 1
        else:
            kept.append(one)
    return kept + [finding("dicom-left", folder, f"{count} DICOM files" if count > 1 else
                           "a DICOM file") for folder, count in dicom.items()]


def _misnamed(found: Iterable[Finding]) -> list[Finding]:
    """Return the files that are no NIfTI, as their names say, but DICOM: these name the patient."""
    return [finding("dicom-left", one.path, "DICOM under the name of a NIfTI file")
            for one in found if one.rule.code in _OTHER_FORMATS and is_dicom(one.path)]
