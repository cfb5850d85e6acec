from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import zoom

from braing3n.data.canonical import canonical
from braing3n.data.scan import Scan
from braing3n.data.tools.template import Template
from braing3n.data.tools.toolbox import load_template
from braing3n.errors import ConfigError, ScanError


@pytest.fixture
def scan(brain) -> Scan:
    affine = np.array([[-4.0, 0, 0, 60], [0, -4, 0, 66], [0, 0, 4, -50], [0, 0, 0, 1]])
    return canonical(Scan(Path("a.nii"), brain.astype(np.float32), affine, "ab" * 32))


def _moved(scan: Scan, *shift_mm: float) -> Scan:
    affine = scan.affine.copy()
    affine[:3, 3] += shift_mm
    return replace(scan, affine=affine)


def test_a_brain_fits_itself_however_it_is_stored(scan):
    stored = replace(scan, voxels=scan.voxels[::-1].transpose(2, 0, 1).copy(),
                     affine=scan.affine @ np.array([[0, -1, 0, 29], [0, 0, 1, 0], [1, 0, 0, 0],
                                                    [0, 0, 0, 1.0]]))
    assert Template(scan).fit(canonical(stored)) == (1.0, 1.0)


def test_another_grid_changes_nothing_much(scan):
    fine = replace(scan, voxels=np.kron(scan.voxels, np.ones((2, 2, 2), np.float32)),
                   affine=scan.affine @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25],
                                                  [0, 0, 0.5, -0.25], [0, 0, 0, 1]]))
    assert Template(fine).fit(scan) == pytest.approx((1, 1), abs=0.05)
    assert Template(scan).fit(fine) == pytest.approx((1, 1), abs=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_lowers_the_overlap_as_much_as_it_moves_the_brain_out(scan, axis):
    shift = np.zeros(3)
    shift[axis] = 12  # three voxels
    moved = np.roll(scan.voxels, np.sign(np.diag(scan.affine)[axis]) * 3, axis)
    expected = ((moved != 0) & (scan.voxels != 0)).sum() / (scan.voxels != 0).sum()
    assert expected < 0.93
    assert Template(scan).fit(_moved(scan, *shift)) == (pytest.approx(expected), 1.0)
    with pytest.raises(ScanError, match="does not fit"):
        Template(scan)(_moved(scan, *shift))
    Template(scan)(_moved(scan, *shift / 12))


def test_a_brain_beyond_the_templates_box_or_of_another_size_does_not_fit(scan):
    assert Template(scan).fit(_moved(scan, 500, 0, 0)) == (0.0, 1.0)
    small = zoom(scan.voxels, 0.8, order=0)
    affine = scan.affine.copy()
    middle = (np.array(scan.voxels.shape) - np.array(small.shape)) / 2
    affine[:3, 3] += affine[:3, :3] @ middle
    shrunk = replace(scan, voxels=small, affine=affine)
    overlap, size = Template(scan).fit(shrunk)
    assert overlap > 0.97
    assert size == pytest.approx(np.count_nonzero(small) / np.count_nonzero(scan.voxels))
    assert size < 0.6
    with pytest.raises(ScanError):
        Template(scan)(shrunk)


def test_nothing_at_all_does_not_fit(scan):
    empty = replace(scan, voxels=np.zeros_like(scan.voxels))
    assert Template(scan).fit(empty) == (0.0, 0.0)


def test_a_template_is_read_and_named_by_its_bytes(write_scan, tmp_path):
    template = load_template(write_scan(tmp_path / "template.nii.gz"))
    other = load_template(write_scan(tmp_path / "other.nii.gz", seed=1))
    assert template.scan.digest[:12] in template.title
    assert template.describe() != other.describe()


def test_a_template_with_its_skull_or_that_is_not_there_is_refused(write_scan, tmp_path, brain):
    noise = np.random.default_rng(0).uniform(1, 9, brain.shape)
    head = write_scan(tmp_path / "head.nii.gz", np.where(brain > 0, brain, noise).astype(np.float32))
    for path in (head, tmp_path / "absent.nii.gz"):
        with pytest.raises(ConfigError, match="template cannot be used"):
            load_template(path)
