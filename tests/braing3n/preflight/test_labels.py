import nibabel as nib
import numpy as np
import pytest

from braing3n.data.tree import describe
from braing3n.preflight.labels import check_labels, grid_findings
from braing3n.preflight.volume import check_scan

SHAPE = (30, 34, 28)


@pytest.fixture
def labels(brain, tmp_path):
    """Write labels beside a scan of the same subject; return what a check says of their grid."""

    def write(name: str, values: np.ndarray, affine=None):
        nib.save(nib.Nifti1Image(values, np.diag([-4.0, 4, 4, 1]) if affine is None else affine),
                 tmp_path / name)
        return check_labels(describe(tmp_path / name, tmp_path))

    return write


def _codes(report):
    return [(found.rule.code, found.found) for found in report.findings]


def _few(value):
    values = np.zeros(SHAPE, np.float32)
    values[10:20, 10:20, 10:20] = value
    return values


@pytest.mark.parametrize(("name", "values", "found"), [
    ("sub-01_dseg.nii.gz", _few(3), []), ("sub-01_dseg.nii.gz", _few(2035).astype(np.int16), []),
    ("sub-01_mask.nii.gz", _few(1), []), ("sub-01_mask.nii.gz", _few(255), []),
    ("sub-01_dseg.nii.gz", _few(0), [("labels-empty", "0 in every voxel")]),
    ("sub-01_label-lesion_mask.nii.gz", _few(0), []),
    ("sub-01_dseg.nii.gz", _few(1.5), [("labels-values", "1.5")]),
    ("sub-01_dseg.nii.gz", _few(-1), [("labels-values", "-1")]),
    ("sub-01_mask.nii.gz", np.where(_few(1) > 0, 2, 1).astype(np.uint8), [("labels-values", "1, 2")]),
])
def test_labels_are_whole_numbers_from_0_and_masks_have_two_values(name, values, found, labels):
    assert _codes(labels(name, values)) == found


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "float32"])
def test_every_type_of_number_is_read_for_its_values(kind, labels):
    values = np.random.default_rng(0).integers(-7, 90, SHAPE).astype(kind)
    assert _codes(labels("sub-01_dseg.nii.gz", values)) == [
        ("labels-values", "-7, -6, -5, -4, -3, -2, -1")]


def test_labels_are_compared_with_the_table_beside_them(labels, tmp_path):
    (tmp_path / "sub-01_dseg.tsv").write_text("index\tname\n1\tCSF\n3\tWM\n")
    assert _codes(labels("sub-01_dseg.nii.gz", _few(3))) == []
    assert _codes(labels("sub-01_dseg.nii.gz", _few(4))) == [("labels-values", "4")]


@pytest.mark.parametrize(("name", "cut", "shift", "expected"), [
    ("sub-01_dseg.nii.gz", 0, 0, []), ("sub-01_dseg.nii.gz", 1, 0, ["labels-grid"]),
    ("sub-01_dseg.nii.gz", 0, 9, ["labels-grid"]), ("sub-02_dseg.nii.gz", 1, 0, []),
    ("sub-01_space-MNI_dseg.nii.gz", 1, 0, []),
])
def test_labels_lie_on_the_grid_of_their_subjects_scan(name, cut, shift, expected, labels, brain,
                                                       write_scan, tmp_path):
    scan = check_scan(describe(write_scan(tmp_path / "sub-01_T1w.nii.gz", brain), tmp_path),
                      with_picture=False)
    affine = np.diag([-4.0, 4, 4, 1])
    affine[0, 3] = shift
    report = labels(name, _few(3)[cut:], affine)
    assert [found.rule.code for found in grid_findings([report], [scan])] == expected


def test_whom_a_refused_label_map_names_is_told_beside_the_refusal(tmp_path):
    image = nib.Nifti1Image(_few(3)[:, :, :3].copy(), np.diag([-4.0, 4, 4, 1]))
    image.header["descrip"] = b"Doe^Jane"
    nib.save(image, tmp_path / "sub-01_dseg.nii.gz")
    report = check_labels(describe(tmp_path / "sub-01_dseg.nii.gz", tmp_path))
    assert [found.rule.code for found in report.findings] == ["slices-few", "identity-header"]
