"""Label maps: whole numbers, on the grid of the scan that they belong to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braing3n.data.findings import Finding, RefusedScanError, finding
from braing3n.data.nifti.geometry import find_affine
from braing3n.data.nifti.intensities import slope_and_intercept
from braing3n.data.nifti.stored import Stored, read_nifti
from braing3n.data.people.tables import read_table
from braing3n.data.tree import Entry, stem_of
from braing3n.errors import CohortError
from braing3n.identity.findings import header_findings, refused_identity
from braing3n.listing import first_of
from braing3n.preflight.outcome import VolumeReport

_COUNTED_BYTES = 2
_ROUNDING = 1e-4
# A mask of lesions may be empty; a segmentation is not.
_NEVER_EMPTY = ("dseg", "aseg", "seg", "segmentation")
# Placement of two grids may differ by this share of a voxel.
_GRID_TOLERANCE = 0.05
# Labels that were resampled to another space say so in their name; those of time series and
# diffusion lie on grids of their own, in folders of their own.
_OTHER_SPACE = re.compile(r"_space-(?!orig)")
_OTHER_GRIDS = {"func", "dwi", "perf", "pet", "fmap", "meg", "eeg", "ieeg", "mrs"}


@dataclass(frozen=True)
class LabelReport:
    """What came out of one label map; no grid where it cannot be read."""

    entry: Entry
    findings: tuple[Finding, ...]
    shape: tuple[int, ...] | None
    affine: NDArray[np.float64] | None


def check_labels(entry: Entry) -> LabelReport:
    """Read a label map to its last voxel and look at its values."""
    try:
        stored = read_nifti(entry.path)
        # What is odd about the grid is told of the scan already.
        affine, _ = find_affine(entry.path, stored.header, stored.voxels.shape)
        scaling = slope_and_intercept(entry.path, stored.header)
    except RefusedScanError as error:
        return LabelReport(entry, (error.finding, *refused_identity(entry.path)), None, None)
    found = [*stored.remarks, *header_findings(entry.path, stored.header, stored.extensions),
             *_check_values(entry.path, stored, scaling)]
    return LabelReport(entry, tuple(found), stored.voxels.shape, affine)


def grid_findings(labels: Sequence[LabelReport], scans: Sequence[VolumeReport]) -> list[Finding]:
    """Compare each label map's grid with those of the scans of the same subject and visit."""
    grids: dict[tuple[str | None, str | None], list[VolumeReport]] = {}
    for scan in scans:
        if scan.facts is not None:
            grids.setdefault((scan.entry.subject, scan.entry.session), []).append(scan)
    found = []
    for report in labels:
        beside = grids.get((report.entry.subject, report.entry.session), [])
        if (report.shape is None or not beside or report.entry.subject is None
                or _OTHER_SPACE.search(report.entry.path.name)
                or report.entry.path.parent.name in _OTHER_GRIDS
                or any(_fits(report, scan) for scan in beside)):
            continue
        facts = beside[0].facts
        expected = "none" if facts is None else " x ".join(map(str, facts.shape))
        found.append(finding("labels-grid", report.entry.path,
                             " x ".join(map(str, report.shape)) + ", or placed elsewhere",
                             expected=f"the grid of {beside[0].entry.path.name}: {expected}"))
    return found


def _fits(report: LabelReport, scan: VolumeReport) -> bool:
    if scan.facts is None or report.affine is None or scan.facts.shape != report.shape:
        return False
    voxel = min(scan.facts.voxel_mm)
    return bool(np.abs(scan.facts.affine - report.affine)[:3, 3].max() < voxel
                and np.allclose(scan.facts.affine[:3, :3], report.affine[:3, :3],
                                atol=_GRID_TOLERANCE * voxel))


def _check_values(path: Path, stored: Stored, scaling: tuple[float, float]) -> list[Finding]:
    slope, intercept = scaling
    scaled = _different(stored.voxels).astype(np.float64) * slope + intercept
    # Slope and intercept are float32: 255 times a 255th is no whole number.
    values = np.where(np.abs(scaled - np.round(scaled)) < _ROUNDING, np.round(scaled), scaled)
    strange = values[~(np.isfinite(values) & (values == np.round(values)) & (values >= 0))]
    if len(strange):
        return [finding("labels-values", path, _listed(strange))]
    if not values.any() and stem_of(path.name).lower().endswith(_NEVER_EMPTY):
        return [finding("labels-empty", path, "0 in every voxel")]
    if stem_of(path.name).lower().endswith("mask"):
        return [] if len(values) <= 2 and values[0] == 0 else [
            finding("labels-values", path, _listed(values), expected="0 and one other value")]
    known = _lookup(path)
    unknown = values[[known is not None and value not in known for value in values]]
    return [finding("labels-values", path, _listed(unknown), expected="values that its _dseg.tsv "
                    "lists")] if len(unknown) else []


def _different(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return the sorted different values; small whole numbers are counted, ten times as fast."""
    if voxels.dtype.kind not in "iu" or voxels.dtype.itemsize > _COUNTED_BYTES:
        return np.unique(voxels)
    lowest = int(voxels.min())
    return np.flatnonzero(np.bincount(voxels.ravel(order="K").astype(np.int64) - lowest)) + lowest


def _lookup(path: Path) -> set[float] | None:
    """Return the values that the table beside the labels lists, with 0; None without a table."""
    table = path.with_name(f"{stem_of(path.name)}.tsv")
    if not table.is_file():
        return None
    try:
        return {0.0} | {float(row["index"]) for row in read_table(table).rows}
    except (CohortError, KeyError, ValueError):
        return None  # the table's own check says what is wrong with it


def _listed(values: NDArray[np.float64]) -> str:
    return first_of([f"{value:g}" for value in values])
