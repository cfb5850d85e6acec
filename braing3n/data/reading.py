"""One file on disk to one checked volume, or an error that says why not."""

from pathlib import Path

from braing3n.data.nifti.geometry import find_affine
from braing3n.data.nifti.intensities import check_intensities, scale
from braing3n.data.nifti.stored import read_nifti, scan_files
from braing3n.data.scan import Scan

__all__ = ["load_scan", "scan_files"]


def load_scan(path: Path) -> Scan:
    """Read a NIfTI file (.nii, .nii.gz, or either half of a .hdr/.img pair) to its last byte.

    Raises:
        RefusedScanError: The file cannot be read whole, or what it holds is not one 3-D volume of
            finite, varying, real numbers with a usable geometry.
    """
    stored = read_nifti(path)
    affine, geometry = find_affine(path, stored.header, stored.voxels.shape)
    voxels, scaling = scale(path, stored.header, stored.voxels)
    odd = check_intensities(path, voxels)
    return Scan(path, voxels, affine, stored.digest, stored.header, stored.extensions,
                (*stored.remarks, *geometry, *scaling, *odd))
