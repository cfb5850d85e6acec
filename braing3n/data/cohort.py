"""The subjects, visits and volumes of one site, from a BIDS folder or a table."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from braing3n.conditions import Conditions
from braing3n.config import DataConfig
from braing3n.data.bids import BidsScan, Sidecars, find_scans
from braing3n.data.covariates import Cell, cells_of, modality_of, understand
from braing3n.data.tables import read_table
from braing3n.errors import CohortError


@dataclass(frozen=True)
class Volume:
    """One scan of one subject, not yet read.

    Attributes:
        subject: The subject's pseudonym: the unit of the held-out split.
        session: The visit, or None where there is one only.
        modality: `T1w`, `T2w`, `FLAIR`, `T1c` or `unknown`.
        path: The file.
        conditions: What is known of it.
    """

    subject: str
    session: str | None
    modality: str
    path: Path
    conditions: Conditions


@dataclass(frozen=True)
class Cohort:
    """What a site has.

    Attributes:
        volumes: Sorted by subject, session, modality and path.
        notes: What was left aside or not understood, for the site's own log. They name subjects.
    """

    volumes: tuple[Volume, ...]
    notes: tuple[str, ...]


def open_cohort(data: DataConfig) -> Cohort:
    """Find a site's volumes and what is known of them, without reading any voxel.

    Raises:
        CohortError: The folder or the table is not there, is of another kind, or names no scan.
    """
    source = data.folder or data.table
    if source is None or not (source.is_dir() if data.folder else source.is_file()):
        raise CohortError(f"{source} is not there",
                          expected="a folder" if data.folder else "a table",
                          found="something else" if source and source.exists() else "nothing",
                          fix="correct the path")
    volumes, notes = _from_bids(source) if data.folder else _from_table(source)
    volumes.sort(key=lambda v: (v.subject, v.session or "", v.modality, str(v.path)))
    return Cohort(tuple(volumes), tuple(notes))


def is_held_out(subject: str, share: float) -> bool:
    """Tell whether a subject is kept for evaluation.

    Decided by the sha256 of the id, read as a number in [0, 1): stable, and adding a subject
    never moves another.
    """
    return int(hashlib.sha256(subject.encode()).hexdigest(), 16) / 2**256 < share


def _from_bids(root: Path) -> tuple[list[Volume], list[str]]:
    scans, others = find_scans(root)
    notes = _listed("NIfTI files in anat/ are not used, as name, folder or contrast does not fit",
                    (str(path.relative_to(root)) for path in others))
    people, people_notes = _participants(root, {scan.subject for scan in scans})
    visits = {subject: _sessions(root, subject) for subject in {scan.subject for scan in scans}}
    sidecars = Sidecars(root)
    volumes, unread = [], Counter[Cell]()
    for scan in scans:
        cells = people.get(scan.subject, {}) | visits[scan.subject].get(scan.session or "", {})
        volumes.append(_volume(scan, cells, sidecars, unread))
    return volumes, notes + people_notes + _not_understood(unread, [sidecars])


def _from_table(table: Path) -> tuple[list[Volume], list[str]]:
    rows = read_table(table)
    columns = rows[0].keys() if rows else ()
    if not {"subject", "path"} <= set(columns):
        raise CohortError(f"{table} does not list scans",
                          expected="the columns subject and path, and one row a scan",
                          found=f"the columns {', '.join(columns) or '(none)'}",
                          fix="rename the columns; see site_configs/example.yaml")
    volumes, unread, notes = [], Counter[Cell](), list[str]()
    sidecars: dict[Path, Sidecars] = {}
    owners: dict[Path, str] = {}
    for number, row in enumerate(rows, start=1):
        path = table.parent / row["path"]
        if not row["subject"] or not row["path"]:
            notes.append(f"row {number} of {table.name} names no subject or no path; left out")
        elif path.resolve() in owners:
            notes.append(f"{row['path']} is listed twice; only its first row, of "
                         f"{owners[path.resolve()]}, is used")
        else:
            owners[path.resolve()] = row["subject"]
            named = row.get("modality") or path.name.partition(".")[0].rpartition("_")[2]
            modality = modality_of(named, contrast="_ce-" in path.name)
            scan = BidsScan(path, row["subject"], row.get("session") or None,
                            modality or "unknown")
            beside = sidecars.setdefault(path.parent, Sidecars(path.parent))
            volumes.append(_volume(scan, cells_of(row), beside, unread))
    if not volumes:
        raise CohortError(f"{table} names no scan", expected="one row a scan",
                          found=f"{len(rows)} rows without subject and path", fix="fill them in")
    return volumes, notes + _not_understood(unread, sidecars.values())


def _volume(scan: BidsScan, cells: Mapping[str, Cell], sidecars: Sidecars,
            unread: Counter[Cell]) -> Volume:
    """Join a scan with what tables and sidecars say; count the cells that say nothing known."""
    magnet = sidecars.field_strength(scan.path)
    if magnet is not None:
        cells = {**cells, "field_strength": magnet}
    modality = None if scan.modality == "unknown" else scan.modality
    conditions, strange = understand(cells, modality)
    unread.update(strange)
    return Volume(scan.subject, scan.session, scan.modality, scan.path, conditions)


def _participants(root: Path, scanned: set[str]) -> tuple[dict[str, dict[str, Cell]], list[str]]:
    """Read participants.tsv, and say where it and the folders differ."""
    table = root / "participants.tsv"
    if not table.is_file():
        return {}, ["there is no participants.tsv: age, sex and diagnosis are unknown"]
    people, twice = _by_label(table, "participant_id", "sub-")
    notes = _listed("subjects of participants.tsv have no scan", set(people) - scanned)
    notes += _listed("subjects with scans are not in participants.tsv", scanned - set(people))
    notes += _listed("subjects have rows in participants.tsv that differ; none is used", twice)
    return people, notes


def _sessions(root: Path, subject: str) -> dict[str, dict[str, Cell]]:
    """Read what the subject's sessions.tsv says of each visit; it overrides participants.tsv."""
    table = root / subject / f"{subject}_sessions.tsv"
    return _by_label(table, "session_id", "ses-")[0] if table.is_file() else {}


def _by_label(table: Path, column: str, prefix: str) -> tuple[dict[str, dict[str, Cell]], set[str]]:
    """Return each label's cells, and the labels whose rows contradict each other."""
    found: dict[str, dict[str, Cell]] = {}
    twice: set[str] = set()
    for row in read_table(table):
        if column not in row:
            raise CohortError(f"{table} has no column {column}", expected=column,
                              found=", ".join(row), fix="rename the column that names them")
        label = row[column] if row[column].startswith(prefix) else prefix + row[column]
        cells = cells_of(row)
        if found.setdefault(label, cells) != cells:
            twice.add(label)
    return found | {label: {} for label in twice}, twice


def _not_understood(unread: Counter[Cell], sidecars: Iterable[Sidecars]) -> list[str]:
    damaged = [str(path) for group in sidecars for path in group.damaged]
    cells = sorted(unread.items(), key=lambda item: (-item[1], str(item[0])))
    return [
        *(f"{cell.column} {cell.text!r} is not understood and counts as unknown ({count} "
          f"scan{'s' if count > 1 else ''})" for cell, count in cells),
        *_listed("sidecars are not JSON objects and are not used", damaged),
    ]


def _listed(what: str, names: Iterable[str]) -> list[str]:
    """Return one note that counts and names, or none where there is nothing to tell."""
    ordered = sorted(names)
    more = ", ..." if len(ordered) > 8 else ""
    return [f"{what} ({len(ordered)}): {', '.join(ordered[:8])}{more}"] if ordered else []
