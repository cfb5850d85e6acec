"""Heads of simple shapes, as scans in memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from braing3n.data.scan import Scan

MakeHead = Callable[..., Scan]


def _grid(shape, voxel_mm):
    axes = [(np.arange(n) - (n - 1) / 2) * voxel_mm for n in shape]
    return np.meshgrid(*axes, indexing="ij")


@pytest.fixture
def stripped_brain() -> MakeHead:
    """An ellipsoid of 140 x 170 x 130 mm, brighter towards its middle, in an empty box; RAS.

    Below 30 mm under its middle there is nothing in front, as below the forehead of a brain.
    """

    def make(*, sign: float = 1.0, size: float = 1.0, shift_mm: float = 0.0, voxel_mm: float = 3.0,
             ) -> Scan:
        shape = tuple(round(side / voxel_mm) for side in (180, 216, 180))
        x, y, z = _grid(shape, voxel_mm)
        radius = (x / 70) ** 2 + (y / 85) ** 2 + ((z - shift_mm) / 65) ** 2
        noise = np.random.default_rng(0).normal(0, 20, shape)
        inside = (radius < size**2) & ~((z - shift_mm < -30 * size) & (y > 0))
        voxels = np.where(inside, 800 + sign * 400 * (0.5 - radius / size**2) + noise, 0)
        return Scan(Path("a.nii"), voxels.astype(np.float32),
                    np.diag([voxel_mm] * 3 + [1.0]), "0" * 64)

    return make


@pytest.fixture
def whole_head() -> MakeHead:
    """A skull 150 x 200 mm around, 230 mm high, over noise; with a face in front or without."""

    def make(*, has_face: bool) -> Scan:
        shape = (64, 84, 80)
        x, y, z = _grid(shape, 3.0)
        head = (x / 75) ** 2 + (y / 95) ** 2 + ((z - 10) / 95) ** 2 < 1
        neck = (np.hypot(x, y + 20) < 55) & (z < 0)
        face = (np.abs(x) < 55) & (y > 0) & (y < 100) & (z < 10) & (z > -90)
        tissue = (head & ~((y > 20) & (z < 0))) | neck
        tissue |= face if has_face else False
        noise = np.abs(np.random.default_rng(1).normal(0, 10, shape))
        return Scan(Path("a.nii"), (np.where(tissue, 500, 0) + noise).astype(np.float32),
                    np.diag([3.0, 3, 3, 1]), "0" * 64)

    return make
