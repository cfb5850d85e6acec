from dataclasses import replace

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from braing3n.data.reading import load_scan
from braing3n.preflight.anatomy import anatomy_findings
from braing3n.preflight.look import look_at


def _codes(scan, modality="T1w"):
    return [found.rule.code for found in anatomy_findings(scan, look_at(scan), modality)]


def test_a_whole_stripped_brain_has_no_finding(stripped_brain):
    look = look_at(stripped_brain())
    assert look.is_stripped
    # Volume of the ellipsoid over that of the box, without half of the cap below 30 mm.
    cap = np.pi * 70 * 85 * (65 - 30 - (65**3 - 30**3) / (3 * 65**2))
    volume = 4 / 3 * np.pi * 70 * 85 * 65 - cap / 2
    assert look.background_share == pytest.approx(1 - volume / (180 * 216 * 180), abs=0.01)
    assert _codes(stripped_brain()) == []


def test_the_extent_is_measured_in_millimetres_at_any_resolution(stripped_brain):
    for voxel_mm in (1.5, 3.0):
        look = look_at(stripped_brain(voxel_mm=voxel_mm))
        extent = [(part.stop - part.start) * size for part, size in
                  zip(look.box, look.sizes, strict=True)]
        np.testing.assert_allclose(extent, [140, 170, 130], atol=2 * 3)


@pytest.mark.parametrize(("change", "codes"), [
    ({"size": 0.5}, ["field-of-view"]), ({"shift_mm": 70.0}, ["field-of-view"]),
    ({"sign": -1.0}, ["contrast-unexpected"]),
])
def test_a_small_a_cut_and_an_inverted_brain_are_told(change, codes, stripped_brain):
    assert _codes(stripped_brain(**change)) == codes


def test_the_contrast_is_judged_by_the_name(stripped_brain):
    assert _codes(stripped_brain(), "T2w") == ["contrast-unexpected"]
    assert _codes(stripped_brain(sign=-1.0), "T2w") == []
    assert _codes(stripped_brain(sign=-1.0), "FLAIR") == []
    assert _codes(stripped_brain(sign=-1.0), None) == []


@pytest.mark.parametrize("value", [1e6, -1e6])
def test_one_hot_or_cold_voxel_is_told_wherever_it_is(value, stripped_brain):
    scan = stripped_brain()
    scan.voxels[1, 2, 3] = value
    assert "voxels-hot" in _codes(scan)


def test_hot_voxels_are_told_though_the_highest_percentile_is_among_them(stripped_brain):
    scan = stripped_brain()
    scan.voxels[tuple(np.argwhere(scan.voxels > 0)[::200].T)] = 1e9
    assert "voxels-hot" in _codes(scan)


def _scrambled(voxels):
    return voxels[:, :, sorted(range(voxels.shape[2]), key=str)]


def _striped(voxels):
    changed = voxels.copy()
    changed[::2] = 0
    return changed


def _clipped(voxels):
    return np.minimum(voxels, np.percentile(voxels[voxels > 0], 50))


def _wrapped(voxels):
    scaled = (voxels / voxels.max() * 255).astype(np.uint8).view(np.int8)
    return np.where(voxels > 0, scaled, 0).astype(np.float32)


@pytest.mark.parametrize(("change", "code"), [
    (_scrambled, "slices-disordered"), (_striped, "slices-disordered"), (_clipped, "voxels-saturated"),
    (_wrapped, "voxels-below-background"), (lambda voxels: voxels[:, :, ::-1], "orientation-unlikely"),
    (lambda voxels: voxels[:, ::-1], "orientation-unlikely"),
    (lambda voxels: np.where(np.arange(voxels.shape[2]) < 38, voxels, 0), "field-of-view"),
])
def test_what_a_converter_spoils_is_told(change, code, stripped_brain):
    scan = stripped_brain()
    assert code in _codes(replace(scan, voxels=np.ascontiguousarray(change(scan.voxels))))


def test_a_head_of_an_impossible_volume_is_told(stripped_brain):
    scan = stripped_brain()
    assert "field-of-view" in _codes(replace(scan, affine=np.diag([6.0, 6, 6, 1])))


def test_z_scores_are_told_and_no_more(stripped_brain):
    scan = stripped_brain()
    inside = scan.voxels > 0
    values = (scan.voxels - scan.voxels[inside].mean()) / scan.voxels[inside].std()
    assert _codes(replace(scan, voxels=np.where(inside, values, 0).astype(np.float32))) == [
        "voxels-below-background"]


def test_a_face_is_told_from_none(whole_head):
    assert not look_at(whole_head(has_face=True)).is_stripped
    assert _codes(whole_head(has_face=True)) == ["skull-present", "face-present"]
    assert _codes(whole_head(has_face=False)) == ["skull-present"]


def test_the_order_in_which_axes_are_stored_changes_nothing(whole_head):
    scan = whole_head(has_face=True)
    for codes in ("PIR", "LAS", "SPL"):
        change = ornt_transform(io_orientation(scan.affine), axcodes2ornt(codes))
        turned = replace(scan, affine=scan.affine @ inv_ornt_aff(change, scan.voxels.shape),
                         voxels=_apply(scan.voxels, change))
        assert _codes(turned) == ["skull-present", "face-present"]


def _apply(voxels, change):
    for axis, flip in enumerate(change[:, 1]):
        voxels = np.flip(voxels, axis) if flip < 0 else voxels
    return voxels.transpose(np.argsort(change[:, 0]))


def test_real_stripped_defaced_and_whole_heads_are_told_apart(test_data):
    nifti = test_data / "nifti"
    stripped = load_scan(nifti / "real/ds002748_sub-52_T1w_native.nii.gz")
    defaced = load_scan(nifti / "real/studyforrest_sub02_T1w_1.5mm_defaced.nii.gz")
    whole = load_scan(nifti / "formats/nimh_avg152T1_RL_nifti.nii.gz")
    assert [look_at(scan).is_stripped for scan in (stripped, defaced, whole)] == [True, False, False]
    assert [_codes(scan) for scan in (stripped, defaced, whole)] == [
        [], ["skull-present"], ["skull-present", "face-present"]]
