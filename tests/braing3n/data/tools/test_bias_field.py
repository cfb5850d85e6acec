"""These run where ANTsPy is installed: `pip install -c constraints-tools.txt -e .[ants]`."""

from pathlib import Path

import numpy as np
import pytest

from braing3n.data.canonical import canonical
from braing3n.data.scan import Scan
from braing3n.data.tools.bias_field import open_n4

pytest.importorskip("ants")


def _two_tissues(background: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a ball of two tissues, and the smooth field that makes its left brighter."""
    axis = np.linspace(-1.4, 1.4, 40)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    tissue = np.where(radius < 0.7, 300.0, 200.0)
    noise = np.random.default_rng(0).normal(0, 4, x.shape)
    outside = np.abs(np.random.default_rng(1).normal(0, background, x.shape))
    return np.where(radius < 1.2, tissue + noise, outside), np.exp(0.4 * x)


def _scan(voxels: np.ndarray, path: str = "a.nii") -> Scan:
    return canonical(Scan(Path(path), np.asarray(voxels, np.float32),
                          np.diag([-4.0, -4.0, 4.0, 1.0]), "0" * 64))


@pytest.mark.parametrize("background", [0.0, 3.0])
def test_a_known_field_is_taken_out_of_a_brain_and_of_a_head(background):
    flat, field = _two_tissues(background)
    corrected = open_n4()(_scan(flat * field)).voxels
    shell = (flat > 150) & (flat < 250)
    before, after = ((v[shell].std() / v[shell].mean()) for v in (flat * field, corrected))
    assert before > 0.2
    assert after < 0.06
    if background == 0:
        np.testing.assert_array_equal(corrected == 0, flat == 0)


def test_two_corrections_have_equal_bits():
    flat, field = _two_tissues()
    first, second = (open_n4()(_scan(flat * field)).voxels for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_record_names_the_version():
    tool = open_n4()
    assert tool.title == f"N4 (antspyx {tool.version})"
    assert tool.describe()["antspyx"] == tool.version
