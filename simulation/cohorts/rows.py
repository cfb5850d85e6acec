"""The scans or rows of a cohort, each with its subject and the site where it was made."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from braing3n.config import DataConfig
from braing3n.data.cohort import Cohort, open_cohort
from braing3n.data.people.codebook import Codebook, notes_of, open_codebook
from braing3n.data.people.covariates import Cell, modality_of, understand
from braing3n.data.people.mapping import ColumnMapping
from braing3n.data.people.names import whole_number
from braing3n.data.people.tables import Row, Table, read_table
from braing3n.data.sidecar import Sidecars
from braing3n.data.tree import Kind, describe
from braing3n.errors import CohortError
from braing3n.listing import first_of
from simulation.cohorts.definitions import CohortDefinition
from simulation.cohorts.fitting import check_table, fitting_cohorts
from simulation.cohorts.inventory import lacking_of
from simulation.cohorts.row import CohortRow, CohortRows
from simulation.partition.scanners import scanner_column, scanner_of, scanners_of
from simulation.site_folders import find_site_folders

_MAGNET = "MagneticFieldStrength"


def read_cohort(source: Path, definition: CohortDefinition) -> CohortRows:
    """Read a cohort by its definition: a BIDS folder, a folder of them, or a table.

    In a folder that holds one BIDS folder a site, a scan whose site the definition does not find is
    of the folder that it lies in. A folder that holds no scan yet is read by its table of people, or
    else by the sidecars, which stand for their scans.

    Raises:
        CohortError: There is nothing to read, or it cannot be read.
        ConfigError: The definition does not fit the table.
    """
    if source.is_dir():
        read = _of_any_folder(source, definition)
    elif source.is_file():
        read = _of_table(source, definition)
    else:
        raise CohortError(f"{source} is not there", expected="a BIDS folder or a table",
                          found="nothing", fix="correct the path")
    exclude = definition.about.exclude
    if exclude is None:
        return read
    stay, left = list[CohortRow](), list[CohortRow]()
    for row in read.rows:
        (left if re.search(exclude.subject, row.subject) else stay).append(row)
    return replace(read, rows=tuple(stay), excluded=tuple(left))


def read_site_folders(folders: Mapping[str, Path]) -> CohortRows:
    """Read one BIDS folder a site, by the site's name.

    Raises:
        CohortError: One holds no scan.
    """
    return _joined(
        _with_site(_rows_of(open_cohort(DataConfig(folder=folder)), folder), name, is_told=False)
        for name, folder in folders.items())


def _of_any_folder(source: Path, definition: CohortDefinition) -> CohortRows:
    table = source / "participants.tsv"
    try:
        return _of_dataset(source, definition)
    except CohortError as error:
        try:
            folders = find_site_folders(source)
        except CohortError:
            folders = {}
        if folders:
            return _joined(_with_site(_of_dataset(folder, definition, tells_site=False), name,
                                      is_told=True)
                           for name, folder in folders.items())
        read = (_of_table(table, definition) if table.is_file()
                else CohortRows(tuple(_of_sidecars(source, definition)), ()))
        if not read.rows:
            raise
        what = f"rows of {table.name}" if table.is_file() else "sidecars"
        return replace(read, notes=(f"{error.what}: {what} are counted in place of scans", *read.notes))


def _joined(parts: Iterable[CohortRows]) -> CohortRows:
    every = list(parts)
    return CohortRows(tuple(row for part in every for row in part.rows),
                      tuple(note for part in every for note in part.notes),
                      tuple(name for part in every for name in part.repeated))


def _with_site(read: CohortRows, name: str, *, is_told: bool) -> CohortRows:
    """Return the rows of one site's folder; a site that is told by them goes before the folder's."""
    return replace(read, rows=tuple(replace(row, site=(row.site if is_told else None) or name)
                                    for row in read.rows),
                   notes=tuple(f"{name}: {note}" for note in read.notes))


def _of_dataset(source: Path, definition: CohortDefinition, *, tells_site: bool = True) -> CohortRows:
    path = source / "participants.tsv"
    table = read_table(path) if path.is_file() else None
    if table is not None:
        check_table(table, definition, tells_site=False)
    mapping = definition.mapping(("participant_id", *(table.header if table else ())))
    cohort = open_cohort(DataConfig(folder=source), mapping)
    if table is not None and tells_site:  # only now, as sites may have a folder each
        check_table(table, definition)
    said = {} if table is None else scanners_of(table, open_codebook(table, mapping).subject_of)
    return _rows_of(cohort, source, definition, said)


def _rows_of(cohort: Cohort, root: Path | None, definition: CohortDefinition | None = None,
             scanners: dict[str, str] | None = None) -> CohortRows:
    """Return a cohort's volumes as rows.

    Args:
        cohort: The volumes.
        root: The dataset, for sidecars that many scans share; None where each has its own beside it.
        definition: How sites are named.
        scanners: What a table says, by subject or by path; the sidecar goes before it.
    """
    rows, readers, said = [], dict[Path, Sidecars](), scanners or {}
    for volume in cohort.volumes:
        folder = root or volume.path.parent
        facts = readers.setdefault(folder, Sidecars(folder)).of(volume.path)
        scanner = scanner_of(facts) or said.get(str(volume.path)) or said.get(volume.subject)
        rows.append(CohortRow(volume.subject, volume.session, _named(volume.site, definition),
                              volume.conditions, volume.path, scanner))
    return CohortRows(tuple(rows), cohort.notes)


def _of_sidecars(source: Path, definition: CohortDefinition) -> Iterator[CohortRow]:
    """Yield a row for each sidecar that is beside where its scan would be."""
    mapping, sidecars = definition.mapping(), Sidecars(source)
    fields = (mapping.site.sidecar or ()) if mapping.site is not None else ()
    for path in sorted(source.glob("sub-*/**/*.json")):
        scan = path.with_suffix(".nii.gz")
        entry = describe(scan, source)
        if entry.kind is not Kind.SCAN or entry.subject is None or entry.modality is None:
            continue
        facts = sidecars.of(scan)
        tesla = facts.get(_MAGNET)
        cells = {} if tesla is None else {"field_strength": Cell(_MAGNET, str(tesla))}
        said = next((str(facts[field]) for field in fields if facts.get(field)), None)
        told = (_matched(mapping, entry.subject, entry.session, scan.name) if said is None
                or mapping.site is None else mapping.site.named(said))
        yield CohortRow(entry.subject, entry.session, _named(told, definition),
                        understand(cells, entry.modality)[0], None, scanner_of(facts))


def _of_table(source: Path, definition: CohortDefinition) -> CohortRows:
    table = read_table(source)
    check_table(table, definition)
    mapping = definition.mapping(table.header)
    book = open_codebook(table, mapping)
    if book.readings["path"]:
        scanners = scanners_of(table, lambda row: _path(table, book, row))
        return _rows_of(open_cohort(DataConfig(table=source), mapping), None, definition, scanners)
    rows, seen, repeated = list[CohortRow](), set[tuple[str, str | None]](), dict[str, None]()
    scanner, lacking = scanner_column(table), lacking_of(table, book)
    for row in table.rows:
        found = _of_person(row, book, mapping, definition)
        if found is None:
            continue
        if (found.subject, found.session) in seen:
            repeated[found.subject] = None
        seen.add((found.subject, found.session))
        rows.append(replace(found, scanner=scanner(row), lacking=lacking(row)))
    nameless = len(table.rows) - len(rows)
    notes = notes_of(table, book) + ([f"{nameless} rows name no subject; left out"] if nameless else [])
    if rows and all(row.site is None for row in rows) and (fits := fitting_cohorts(table)):
        notes.append(f"{table.path.name}: no id tells a site of {definition.about.name}; the table's "
                     f"columns fit {first_of(fits)}")
    return CohortRows(tuple(rows), tuple(notes), tuple(repeated))


def _of_person(row: Row, book: Codebook, mapping: ColumnMapping,
               definition: CohortDefinition) -> CohortRow | None:
    """Return what a row of a table of people says, or None where it names no subject."""
    subject, cells = book.subject_of(row).strip(), book.cells(row)
    if not subject:
        return None
    visit, site, modality = (cells.pop(name, None) for name in ("visit", "site", "modality"))
    session = visit.said.strip() if visit is not None else None
    conditions, _ = understand(cells, modality_of(modality.said) if modality is not None else None)
    told = site.said if site is not None else _matched(mapping, subject, session)
    return CohortRow(subject, session, _named(told, definition), conditions)


def _path(table: Table, book: Codebook, row: Row) -> str:
    cell = book.cells(row).get("path")
    return "" if cell is None else str(table.path.parent / cell.said.strip())


def _matched(mapping: ColumnMapping, subject: str, session: str | None,
             file_name: str = "") -> str | None:
    return None if mapping.site is None else mapping.site.matched(subject, session, file_name)


def _named(site: str | None, definition: CohortDefinition | None) -> str | None:
    """Return the site's name, without the `.0` that programs put behind a number."""
    if definition is not None and definition.single_site is not None:
        return definition.single_site
    if site is None or not site.strip():
        return None
    number = whole_number(site.strip())
    return site if number == site.strip() else number
