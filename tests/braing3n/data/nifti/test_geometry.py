import nibabel as nib
import numpy as np
import pytest

from braing3n.data.findings import RefusedScanError
from braing3n.data.nifti.geometry import find_affine
from braing3n.data.nifti.stored import shape_of

SHAPE = (60, 70, 50)


def _header(affine=None, *, q=None, sform_code=1, qform_code=0, shape=SHAPE, pixdim=None, units=2):
    """A header with an sform, and a qform where `q` is given; pixdim follows the sform."""
    affine = np.diag([3.0, 3, 3, 1]) if affine is None else affine
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if q is not None:
        header.set_qform(q, qform_code or 1)
    header["pixdim"][1:4] = sizes if pixdim is None else pixdim
    header.set_sform(affine, sform_code)
    header["sform_code"] = sform_code
    header["xyzt_units"] = units
    return header


def _rotated(degrees, sizes=(3.0, 3.0, 3.0)):
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ np.diag([*sizes, 1.0])


def _codes(header, path="a.nii"):
    return [found.rule.code for found in find_affine(path, header, shape_of(header))[1]]


def _refused_by(header):
    with pytest.raises(RefusedScanError) as caught:
        find_affine("a.nii", header, shape_of(header))
    return caught.value.finding.rule.code


def test_an_ordinary_geometry_has_no_remark():
    affine, remarks = find_affine("a.nii", _header(), SHAPE)
    assert not remarks
    np.testing.assert_array_equal(affine, np.diag([3.0, 3, 3, 1]))


@pytest.mark.parametrize(("header", "code"), [
    (_header(np.diag([3.0, 3, 0, 1]), pixdim=(3, 3, 0)), "voxel-size-impossible"),
    (_header(np.diag([3.0, np.nan, 3, 1]), pixdim=(3, 3, 3)), "affine-unusable"),
    (_header(np.diag([3.0, np.inf, 3, 1]), pixdim=(3, 3, 3)), "affine-unusable"),
    (_header(np.array([[3.0, 3, 0, 0], [0, 1e-5, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])),
     "affine-unusable"),
    (_header(np.array([[3.0, 0.75, 0, 0], [0, 3, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])),
     "affine-sheared"),
    (_header(pixdim=(1, 1, 1)), "voxel-size-contradicts"),
    (_header(np.diag([50.0, 50, 50, 1])), "voxel-size-impossible"),
    (_header(sform_code=0, pixdim=(0, 0, 0)), "voxel-size-impossible"),
    (_header(shape=(60, 70, 3)), "slices-few"),
    (_header(shape=(60, 70, 15)), "slices-few"),
])
def test_a_geometry_that_cannot_be_right_is_refused(header, code):
    assert _refused_by(header) == code


@pytest.mark.parametrize(("header", "codes"), [
    (_header(sform_code=0), ["orientation-missing"]),
    (_header(_rotated(30)), ["oblique"]),
    (_header(np.diag([3.0, 3, 12, 1]), shape=(60, 70, 13)), ["voxel-size", "slices-thick"]),
    (_header(np.diag([0.9, 0.9, 5, 1]), shape=(256, 256, 28)), ["slices-thick"]),
    (_header(np.diag([0.2, 0.2, 0.2, 1])), ["voxel-size"]),
    (_header(shape=(14, 16, 13)), ["volume-coarse"]),
    (_header(np.array([[0, 0, 3.0, 0], [-3, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1]])),
     ["orientation-stored"]),
    (_header(q=np.diag([-3.0, 3, 3, 1])), ["orientation-contradicts"]),
    (_header(q=_rotated(10)), ["orientation-differs"]),
    (_header(q=_rotated(10), sform_code=4), []),
    # An affine registration to a template, beside a sound scanner geometry.
    (_header(np.diag([3.3, 2.8, 3.1, 1]), q=np.diag([3.0, 3, 3, 1]), sform_code=4,
             pixdim=(3, 3, 3)), ["sform-ignored"]),
    (_header(units=0), []),
    (_header(np.array([[3.0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 3, 1e7], [0, 0, 0, 1]])), ["place-far"]),
])
def test_an_odd_geometry_is_read_and_told(header, codes):
    assert _codes(header) == codes


@pytest.mark.parametrize(("factor", "units"), [
    (1e-3, 1), (1e-3, 2), (1e-3, 0), (1e3, 3), (1e3, 2), (1.0, 1),
])
def test_a_length_in_the_wrong_unit_is_read_by_the_unit_that_can_be(factor, units):
    header = _header(np.diag([3 * factor] * 3 + [1.0]), units=units)
    affine, remarks = find_affine("a.nii", header, SHAPE)
    np.testing.assert_allclose(affine[:3, :3], np.eye(3) * 3, rtol=1e-6)
    assert [found.rule.code for found in remarks] == ["units"]


def test_without_any_orientation_the_volume_is_centred():
    affine, _ = find_affine("a.nii", _header(sform_code=0), SHAPE)
    middle = affine @ [(SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2, (SHAPE[2] - 1) / 2, 1]
    np.testing.assert_allclose(middle[:3], 0, atol=1e-9)


def _qform_alone(vector, *, handedness=1.0, sizes=(3.0, 3.0, 3.0)):
    header = _header(sform_code=0, qform_code=1, q=np.diag([3.0, 3, 3, 1]), pixdim=sizes)
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = vector
    header["pixdim"][0] = handedness
    return header


@pytest.mark.parametrize(("handedness", "sign"), [(1.0, 1), (-1.0, -1), (0.0, 1)])
@pytest.mark.parametrize("vector", [(0.0, 0.0, 0.0), (0.0, 0.6, 0.0), (0.1, -0.3, 0.2), (0, 0, 1)])
def test_a_qform_is_read_as_by_nibabel_and_a_handedness_of_0_counts_as_1(vector, handedness, sign):
    affine, _ = find_affine("a.nii", _qform_alone(vector, handedness=handedness), SHAPE)
    reference = _qform_alone(vector, handedness=sign).get_qform()
    np.testing.assert_allclose(affine, reference, atol=1e-5)


def test_a_quaternion_that_rounding_made_longer_than_1_is_a_turn_by_half():
    affine, _ = find_affine("a.nii", _qform_alone((0.0, 0.0, 1.0002)), SHAPE)
    np.testing.assert_allclose(affine[:3, :3], np.diag([-3.0, -3, 3]), atol=1e-6)


@pytest.mark.parametrize("vector", [(1.0, 1.0, 0.0), (np.nan, 0, 0), (np.inf, 0, 0)])
def test_a_quaternion_of_no_rotation_is_refused_alone_and_told_beside_a_sound_sform(vector):
    header = _qform_alone(vector)
    assert _refused_by(header) == "affine-unusable"
    header.set_sform(np.diag([3.0, 3, 3, 1]), 1)
    assert _codes(header) == ["qform-ignored"]
