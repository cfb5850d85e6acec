"""One file on disk to one checked volume, or an error that says why not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braing3n.data.findings import Finding
from braing3n.data.nifti.extensions import Extension
from braing3n.data.nifti.geometry import find_affine
from braing3n.data.nifti.intensities import check_intensities, scale
from braing3n.data.nifti.stored import read_nifti, scan_files

__all__ = ["VERSION", "Scan", "load_scan", "scan_files"]

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


def load_scan(path: Path) -> Scan:
    """Read a NIfTI file (.nii, .nii.gz, or either half of a .hdr/.img pair) to its last byte.

    Raises:
        RefusedScanError: The file cannot be read whole, or what it holds is not one 3-D volume of
            finite, varying, real numbers with a usable geometry.
    """
    stored = read_nifti(path)
    affine, geometry = find_affine(path, stored.header, stored.voxels.shape)
    voxels, scaling = scale(path, stored.header, stored.voxels)
    check_intensities(path, voxels)
    return Scan(path, voxels, affine, stored.digest, stored.header, stored.extensions,
                (*stored.remarks, *geometry, *scaling))
