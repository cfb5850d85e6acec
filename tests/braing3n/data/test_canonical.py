from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes, axcodes2ornt, ornt_transform

from braing3n.data.axes import sizes_mm
from braing3n.data.canonical import canonical, check_stripped, is_stripped
from braing3n.data.reading import load_scan
from braing3n.data.scan import Scan
from braing3n.errors import ScanError


def _scan(voxels: np.ndarray, voxel_mm: float = 4.0) -> Scan:
    return Scan(Path("a.nii"), np.asarray(voxels, np.float32),
                np.diag([-voxel_mm, -voxel_mm, voxel_mm, 1.0]), "0" * 64)


def _ball(radius_mm: float, voxel_mm: float = 4.0, edge_mm: float = 240.0) -> np.ndarray:
    """A ball of intensity in an empty box."""
    axis = (np.arange(round(edge_mm / voxel_mm)) + 0.5) * voxel_mm - edge_mm / 2
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.where(x**2 + y**2 + z**2 < radius_mm**2, 100.0 + x, 0.0)


@pytest.mark.parametrize("axes", ["RAS", "PSR", "ILA"])
def test_every_point_keeps_its_place_in_space(axes, brain):
    affine = np.array([[0, -2.0, 0, 30], [3.0, 0, 0, -40], [0, 0, 2.5, 7], [0, 0, 0, 1]])
    image = nib.Nifti1Image(brain, affine)
    stored = image.as_reoriented(ornt_transform(nib.io_orientation(affine), axcodes2ornt(axes)))
    scan = canonical(Scan(Path("a"), np.asarray(stored.dataobj, np.float32), stored.affine, "0"))
    assert aff2axcodes(scan.affine) == tuple("LPS")
    assert sizes_mm(scan.affine).tolist() == [2.0, 3.0, 2.5]
    points = np.argwhere(scan.voxels)
    places = points @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    back = (places - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    assert (brain[tuple(back.round().astype(int).T)] == scan.voxels[tuple(points.T)]).all()
    assert len(points) == np.count_nonzero(brain)


def test_a_shifted_background_becomes_zero_and_an_empty_one_is_not_copied(brain):
    scan = _scan(brain)
    assert np.shares_memory(canonical(scan).voxels, scan.voxels)
    np.testing.assert_array_equal(canonical(_scan(brain + 3100.0)).voxels, scan.voxels)


@pytest.mark.parametrize(("radius_mm", "passes"), [(62, True), (88, True), (91, False), (110, False)])
def test_what_is_larger_than_a_brain_is_no_stripped_brain(radius_mm, passes):
    scan = _scan(_ball(radius_mm))
    assert is_stripped(scan) == passes  # a ball of 89.5 mm has 3 litres
    if not passes:
        with pytest.raises(ScanError, match="hd-bet") as caught:
            check_stripped(scan)
        litres = 4 / 3 * np.pi * (radius_mm / 100) ** 3
        assert float(caught.value.found.split()[0]) == pytest.approx(litres, rel=0.02)


def test_noise_around_a_small_head_is_no_background():
    head = _ball(50.0, edge_mm=130.0)
    assert is_stripped(_scan(head))
    noise = np.random.default_rng(0).uniform(0.5, 3, head.shape)
    noisy = _scan(np.where(head > 0, head, noise))
    assert not is_stripped(noisy)
    with pytest.raises(ScanError) as caught:
        check_stripped(noisy)
    assert caught.value.found.endswith("0% background")


def test_a_brain_in_the_narrowest_box_is_stripped():
    ball = _ball(70.0)
    assert is_stripped(_scan(ball[13:47, 13:47, 13:47]))


def test_real_brains_pass_also_poorly_stripped_ones_and_real_heads_do_not(test_data):
    brains = [*(test_data / "nifti/minicohort").glob("*/sub-*/anat/*_T1w.nii.gz"),
              *(test_data / "nifti/orientations").glob("*.nii.gz"),
              test_data / "nifti/real/ds002748_sub-52_T1w_native.nii.gz",
              test_data / "nifti/formats/nilearn_mni152_t1_1mm_uint8.nii.gz"]
    heads = [test_data / "nifti/real/studyforrest_sub02_T1w_1.5mm_defaced.nii.gz",
             *(test_data / "nifti/formats" / name for name in (
                 "clinical_flair_template_2mm.nii", "nimh_avg152T1_RL_nifti.nii.gz",
                 "nibabel_someones_anatomy_uint8_slope.nii.gz"))]
    assert len(brains) == 76 + 12 + 2
    assert [path.name for path in brains if not is_stripped(canonical(load_scan(path)))] == []
    assert [path.name for path in heads if is_stripped(canonical(load_scan(path)))] == []
