"""The subjects, visits and volumes of one site, from a BIDS folder or a table."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braing3n.config import DataConfig
from braing3n.data.bids import BidsScan, find_scans
from braing3n.data.people.covariates import Cell, is_missing, is_over_89, understand
from braing3n.data.people.mapping import ColumnMapping, load_mapping
from braing3n.data.people.names import whole
from braing3n.data.people.notes import listed
from braing3n.data.people.participants import read_participants, read_sessions
from braing3n.data.people.scan_tables import read_scan_table
from braing3n.data.sidecar import Sidecars
from braing3n.data.volumes import Volume
from braing3n.errors import CohortError

_MAGNET = "MagneticFieldStrength"
_MAX_SHOWN = 40


@dataclass(frozen=True)
class Cohort:
    """What a site has.

    Attributes:
        volumes: Sorted by subject, session, modality and path.
        notes: What was left aside or not understood, for the site's own log. They name subjects.
    """

    volumes: tuple[Volume, ...]
    notes: tuple[str, ...]


def open_cohort(data: DataConfig, mapping: ColumnMapping | None = None) -> Cohort:
    """Find a site's volumes and what is known of them, without reading any voxel.

    Args:
        data: Where they are.
        mapping: How the columns of its table are named, in place of the file that `data` names.

    Raises:
        CohortError: The folder or the table is not there, is of another kind, or names no scan.
        ConfigError: The mapping file is wrong, or does not fit the table.
    """
    source = data.folder or data.table
    if source is None or not (source.is_dir() if data.folder else source.is_file()):
        raise CohortError(f"{source} is not there",
                          expected="a folder" if data.folder else "a table",
                          found="something else" if source and source.exists() else "nothing",
                          fix="correct the path")
    if mapping is None and data.mapping is not None:
        mapping = load_mapping(data.mapping)
    volumes, notes = (_from_bids if data.folder else _from_table)(source, mapping)
    volumes.sort(key=lambda v: (v.subject, v.session or "", v.modality, str(v.path)))
    if mapping is not None and mapping.site is not None:
        notes += listed("scans have no site by the mapping",
                        (str(volume.path) for volume in volumes if volume.site is None))
    return Cohort(tuple(volumes), tuple(notes))


def _from_bids(root: Path, mapping: ColumnMapping | None) -> tuple[list[Volume], list[str]]:
    scans, others = find_scans(root)
    notes = listed("files and folders are not used, as name, place or contrast does not fit",
                   (str(path.relative_to(root)) for path in others))
    sessions: dict[str, set[str]] = {}
    for scan in scans:
        sessions.setdefault(scan.subject, set()).update([scan.session] if scan.session else [])
    people, people_notes = read_participants(root, sessions, mapping)
    notes += people_notes
    visits = {}
    for subject, scanned in sessions.items():
        visits[subject], visit_notes = read_sessions(root, subject, scanned, mapping)
        notes += visit_notes
    sidecars, unread = Sidecars(root), Counter[Cell]()
    volumes = [
        _volume(scan, {**people.said_of(scan.subject, scan.session),
                       **visits[scan.subject].said_of(scan.subject, scan.session)},
                sidecars.of(scan.path), mapping, unread)
        for scan in scans]
    return volumes, notes + _not_understood(unread, [sidecars])


def _from_table(path: Path, mapping: ColumnMapping | None) -> tuple[list[Volume], list[str]]:
    scans, notes = read_scan_table(path, mapping)
    sidecars: dict[Path, Sidecars] = {}
    volumes, unread = [], Counter[Cell]()
    for scan, cells in scans:
        beside = sidecars.setdefault(scan.path.parent, Sidecars(scan.path.parent))
        volumes.append(_volume(scan, cells, beside.of(scan.path), mapping, unread))
    return volumes, notes + _not_understood(unread, sidecars.values())


def _volume(scan: BidsScan, cells: Mapping[str, Cell], facts: Mapping[str, Any],
            mapping: ColumnMapping | None, unread: Counter[Cell]) -> Volume:
    """Join a scan with what tables and sidecars say; count the cells that say nothing known.

    The scanner knows its magnet best; of a person, the tables know more than it was told.
    """
    wanted = (_MAGNET, "PatientSex", "PatientAge", *_site_fields(mapping))
    said = {field: Cell(field, text) for field in wanted
            if not is_missing(text := _text(facts.get(field)))}
    told = {variable: said[field] for field, variable in
            (("PatientSex", "sex"), ("PatientAge", "age_years")) if field in said}
    magnet = {"field_strength": said[_MAGNET]} if _MAGNET in said else {}
    modality = None if scan.modality == "unknown" else scan.modality
    conditions, strange = understand({**told, **cells, **magnet}, modality)
    unread.update(strange.values())
    return Volume(scan.subject, scan.session, scan.modality, scan.path, conditions,
                  _site(scan, cells, said, mapping))


def _site(scan: BidsScan, cells: Mapping[str, Cell], said: Mapping[str, Cell],
          mapping: ColumnMapping | None) -> str | None:
    """Return a scan's site, from the table or from where the mapping says that it is told."""
    if "site" in cells:
        return cells["site"].said
    if mapping is None or mapping.site is None:
        return None
    field = next((field for field in _site_fields(mapping) if field in said), None)
    if field is not None:
        return mapping.site.named(said[field].text)
    return mapping.site.matched(scan.subject, scan.session, scan.path.name)


def _site_fields(mapping: ColumnMapping | None) -> tuple[str, ...]:
    return () if mapping is None or mapping.site is None else mapping.site.sidecar or ()


def _text(value: object) -> str:
    """Return a sidecar's value as text, a whole number without `.0`; nothing for none."""
    return "" if value is None else str(whole(value))


def _not_understood(unread: Counter[Cell], sidecars: Iterable[Sidecars]) -> list[str]:
    groups = list(sidecars)
    counts = Counter[str]()
    for cell, count in unread.items():
        counts[f"{cell.column} {_shown(cell)}"] += count
    return [
        *(f"{what} is not understood and counts as unknown ({count} scan{'s' if count > 1 else ''})"
          for what, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        *listed("sidecars are not JSON objects and are not used",
                (str(path) for group in groups for path in group.damaged)),
        *listed("sidecars contradict each other, and are not used for what they differ in",
                (str(path) for group in groups for path in group.disputed)),
    ]


def _shown(cell: Cell) -> str:
    """Return a cell's text, unless it may be a date, a number of a patient or an age over 89."""
    text = cell.text.strip()
    is_telling = re.search(r"[0-9]{4}|[0-9]\D+[0-9]+\D+[0-9]", text) or is_over_89(cell)
    return f"with {len(text)} characters" if is_telling or len(text) > _MAX_SHOWN else repr(text)
