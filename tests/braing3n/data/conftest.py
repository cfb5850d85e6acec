"""Small brains and small cohorts on disk."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

WriteScan = Callable[..., Path]


def _brain(seed: int) -> np.ndarray:
    """An ellipsoid of smooth positive intensities in an empty box of 30 x 34 x 28 voxels."""
    rng = np.random.default_rng(seed)
    shape = (30, 34, 28)
    x, y, z = np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in shape), indexing="ij")
    weights = rng.normal(size=3)
    waves = np.sin(3 * x + weights[0]) + np.cos(4 * y + weights[1]) + np.sin(2 * z + weights[2])
    return np.where(x**2 + y**2 + z**2 < 1, 400 + 100 * waves, 0).astype(np.int16)


@pytest.fixture(scope="session")
def brain() -> np.ndarray:
    return _brain(0)


@pytest.fixture
def write_scan() -> WriteScan:
    """Write a 4 mm LAS scan: of `voxels`, or of a made brain with `seed`."""

    def write(path: Path, voxels: np.ndarray | None = None, *, seed: int = 0,
              affine: np.ndarray | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        geometry = np.diag([-4.0, 4, 4, 1]) if affine is None else affine
        nib.save(nib.Nifti1Image(_brain(seed) if voxels is None else voxels, geometry), path)
        return path

    return write
