"""A scan as it was read: what every step of preprocessing takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from braing3n.data.findings import Finding
    from braing3n.data.nifti.extensions import Extension

# Part of the cache's key: raise it when a scan that was accepted would now be refused or read
# differently, or the reverse.
VERSION = 3


@dataclass(frozen=True)
class Scan:
    """A volume as it is stored: no reorientation, no resampling.

    Attributes:
        path: Where it was read from.
        voxels: (X, Y, Z) float32, after the header's slope and intercept.
        affine: (4, 4) float64, from voxel indices to millimetres (right, anterior, superior).
        digest: The sha256 of the file; of both files' digests for a .hdr/.img pair.
        header: nibabel's header, as it is in the file.
        extensions: What follows the header.
        remarks: What is odd about the scan, though it can be used.
    """

    path: Path
    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    digest: str
    header: Any = None
    extensions: tuple[Extension, ...] = ()
    remarks: tuple[Finding, ...] = ()
