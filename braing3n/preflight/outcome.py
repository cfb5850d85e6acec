"""What a check is asked for, and what it comes to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braing3n.data.findings import Finding, Severity
from braing3n.data.people.mapping import ColumnMapping, load_mapping
from braing3n.data.tree import Entry

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Facts:
    """What a sound scan is.

    Attributes:
        shape: (3,) voxels.
        voxel_mm: (3,) their edges.
        axes: Where the stored axes point to, such as `LAS`.
        affine: (4, 4) from voxels to millimetres.
        voxels_digest: The BLAKE2b of shape, axes and a part of the voxels; None for coarse volumes,
            which may well be equal.
        is_stripped: Whether it shows a brain without its skull.
        background_share: Share of voxels that are exactly the background's value.
        histogram: Counts of the intensities inside the head, from the darkest to the brightest.
        picture: Three planes side by side as JPEG, if asked for.
    """

    shape: tuple[int, ...]
    voxel_mm: tuple[float, ...]
    axes: str
    affine: NDArray[np.float64]
    voxels_digest: str | None
    is_stripped: bool
    background_share: float
    histogram: tuple[int, ...]
    picture: bytes | None


@dataclass(frozen=True)
class VolumeReport:
    """What came out of one file; no facts where it cannot be used."""

    entry: Entry
    findings: tuple[Finding, ...]
    facts: Facts | None


@dataclass(frozen=True)
class Preflight:
    """What a check came to.

    Attributes:
        folder: What was looked at.
        num_files: Files that were looked at.
        findings: The worst first, then by rule and path.
        volumes: One a scan, in order of their paths.
        known: What is known of the subjects by the tables, in words; nothing where no cohort can
            be made of the folder.
    """

    folder: Path
    num_files: int
    findings: tuple[Finding, ...]
    volumes: tuple[VolumeReport, ...]
    known: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing of severity ERROR or PRIVACY was found."""
        return not any(found.rule.severity in (Severity.ERROR, Severity.PRIVACY)
                       for found in self.findings)


@dataclass(frozen=True)
class Wishes:
    """How a check is to look.

    Attributes:
        mapping_file: How the columns of the table of people or scans are named.
        aside: Folders that are left out, such as a site's own cache.
        refuses_skulls: Whether training at this site refuses scans that are not skull-stripped.
        with_pictures: Whether to keep three planes of every scan.
        progress: Called with (done, all) after each file.
    """

    mapping_file: Path | None = None
    aside: frozenset[Path] = frozenset()
    refuses_skulls: bool = False
    with_pictures: bool = False
    progress: Progress | None = None

    @property
    def mapping(self) -> ColumnMapping | None:
        """What the mapping file says.

        Raises:
            ConfigError: It is wrong.
        """
        return None if self.mapping_file is None else load_mapping(self.mapping_file)
