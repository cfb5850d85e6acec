"""A check's outcome in, one HTML file out: it needs no network, no script and no other file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from braing3n.data.findings import Finding, Rule, Severity
from braing3n.data.tree import stem_of
from braing3n.files import replacing
from braing3n.pages import data_uri, page_template
from braing3n.preflight.charts import cohort_charts
from braing3n.preflight.outcome import Facts, Preflight, VolumeReport
from braing3n.preflight.output import next_steps, verdict
from braing3n.preflight.telling import Teller

_ORDER = list(Severity)
# Scans of one part of the montage; with more, parts are folded.
_PART = 200
_HISTOGRAM_HEIGHT = 24


@dataclass(frozen=True)
class Row:
    """One finding, in words; `scan` is the number of its file's tile, if that is a scan."""

    file: str
    scan: int | None
    expected: str
    found: str
    fix: str


@dataclass(frozen=True)
class RuleGroup:
    """All findings of one rule; `expected` and `fix` are None where they differ between them."""

    rule: Rule
    rows: tuple[Row, ...]
    expected: str | None
    fix: str | None


@dataclass(frozen=True)
class Tile:
    """One scan of the montage, in words.

    Attributes:
        number: Its place among all scans, by which links find it.
        name: Its file's, without what may name a person.
        details: Modality, shape, voxel size and axes, of a scan that can be used.
        refusal: Why it cannot be used, else empty.
        picture: A data URI, if one was made.
        histogram: The outline of an SVG path, if there is one.
        rules: What it breaks, the worst first.
    """

    number: int
    name: str
    details: str
    refusal: str
    picture: str | None
    histogram: str | None
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Part:
    """A part of the montage: scans whose worst finding is of one severity, or without any."""

    severity: Severity | None
    first: int
    last: int
    total: int
    tiles: tuple[Tile, ...]


def write_page(preflight: Preflight, path: Path) -> None:
    """Write a page with every scan and every finding, readable by its owner alone.

    Args:
        preflight: What a check came to; with pictures of the scans, if they are to be shown.
        path: The file to write. What is there is replaced.

    Raises:
        OSError: It cannot be written.
    """
    teller = Teller.of(preflight.folder, preflight.findings)
    numbers = {volume.entry.path: number for number, volume in enumerate(preflight.volumes, 1)}
    charts, same = cohort_charts(preflight.volumes)
    html = page_template(Path(__file__).with_name("check.html.j2")).render(
        folder=teller.title(),
        sentences=(*next_steps(preflight), *preflight.known),
        verdict=verdict(preflight),
        holds=preflight.holds,
        counts=_counts(preflight),
        groups=[_rule_group(rule, list(items), teller, numbers)
                for rule, items in groupby(preflight.findings, key=lambda found: found.rule)],
        charts=[(chart.title, data_uri(chart.png, "png"), chart.words) for chart in charts],
        same=same,
        parts=_parts(_tiles(preflight, teller, numbers)),
        is_folded=len(preflight.volumes) > _PART,
        has_pictures=any(volume.facts is not None and volume.facts.picture is not None
                         for volume in preflight.volumes),
    )
    with replacing(path) as part:
        part.touch(mode=0o600)
        # The bytes of a file's name that is not in UTF-8 are shown as escapes.
        part.write_text(html, encoding="utf-8", errors="backslashreplace")


def histogram_path(counts: Sequence[int]) -> str | None:
    """Return the outline of a histogram as SVG path data: a bin is 1 wide, the highest 24 high.

    Args:
        counts: Of its bins, from the left. None comes back where all are 0.
    """
    highest = max(counts, default=0)
    if highest <= 0:
        return None
    tops = [_HISTOGRAM_HEIGHT - round(_HISTOGRAM_HEIGHT * count / highest) for count in counts]
    steps, end = [], 0
    for top, run in groupby(tops):
        end += len(list(run))
        steps.append(f"V{top}H{end}")
    return f"M0 {_HISTOGRAM_HEIGHT}{''.join(steps)}V{_HISTOGRAM_HEIGHT}Z"


def _counts(preflight: Preflight) -> dict[str, int]:
    volumes = preflight.volumes
    usable = sum(volume.facts is not None for volume in volumes)
    return {"files looked at": preflight.num_files,
            "subjects": len({volume.entry.subject for volume in volumes
                             if volume.entry.subject is not None}),
            "scans": len(volumes), "scans that can be used": usable,
            "scans that cannot": len(volumes) - usable}


def _rule_group(rule: Rule, findings: Sequence[Finding], teller: Teller,
                numbers: Mapping[Path, int]) -> RuleGroup:
    rows = []
    for found in findings:
        fields = teller.fields(found)
        name = "the folder itself" if found.path == teller.folder else fields["file"]
        rows.append(Row(name, numbers.get(found.path), fields["expected"], fields["found"],
                        fields["fix"]))
    return RuleGroup(rule, tuple(rows), _only(row.expected for row in rows),
                     _only(row.fix for row in rows))


def _only(texts: Iterable[str]) -> str | None:
    """Return the text that all are, or None where they differ."""
    different = set(texts)
    return different.pop() if len(different) == 1 else None


def _tiles(preflight: Preflight, teller: Teller, numbers: Mapping[Path, int]) -> list[Tile]:
    by_path: dict[Path, list[Finding]] = {}
    for found in preflight.findings:
        by_path.setdefault(_stem(found.path), []).append(found)
    tiles = []
    for volume in preflight.volumes:
        path = volume.entry.path
        # Its own, its sidecar's, and those of the folders that it lies in.
        findings = [*by_path.get(_stem(path), []),
                    *(found for folder in path.parents if folder.is_relative_to(preflight.folder)
                      and folder != preflight.folder for found in by_path.get(folder, []))]
        tiles.append(_tile(volume, findings, teller, numbers[path]))
    return tiles


def _stem(path: Path) -> Path:
    """Return what a scan and its sidecar have in common; a folder as it is."""
    return path.with_name(stem_of(path.name)) if stem_of(path.name) else path


def _tile(volume: VolumeReport, findings: Sequence[Finding], teller: Teller, number: int) -> Tile:
    path, facts = volume.entry.path, volume.facts
    name = teller.name(path)
    rules = tuple(dict.fromkeys(found.rule for found in findings))
    modality = volume.entry.modality or "modality not in its name"
    if facts is None:
        why = "; ".join(f"{found.rule.defect}: {teller.fields(found)['found']}"
                        for found in volume.findings)
        return Tile(number, name, modality, why, None, None, rules)
    picture = None if facts.picture is None else data_uri(facts.picture, "jpeg")
    return Tile(number, name, f"{modality}, {_geometry(facts)}", "", picture,
                histogram_path(facts.histogram), rules)


def _geometry(facts: Facts) -> str:
    shape = " x ".join(str(length) for length in facts.shape)
    voxel = " x ".join(f"{edge:.3g}" for edge in facts.voxel_mm)
    return f"{shape} voxels, {voxel} mm, {facts.axes}"


def _parts(tiles: Sequence[Tile]) -> list[Part]:
    """Split the montage by the worst finding of each scan; what needs no look comes last."""
    parts = []
    for severity in (Severity.ERROR, Severity.PRIVACY, Severity.WARN, None):
        mine = [tile for tile in tiles if _worst(tile) is severity]
        for first in range(0, len(mine), _PART):
            some = tuple(mine[first : first + _PART])
            parts.append(Part(severity, first + 1, first + len(some), len(mine), some))
    return parts


def _worst(tile: Tile) -> Severity | None:
    """Return the worst severity among a scan's findings, or None where nobody needs to look."""
    if tile.refusal:
        return Severity.ERROR
    found = [rule.severity for rule in tile.rules if rule.severity is not Severity.INFO]
    return min(found, key=_ORDER.index, default=None)
