from pathlib import Path

import numpy as np
import pytest

from braing3n.data.tree import Entry, Kind, describe
from braing3n.preflight.between import between_files, between_scans
from braing3n.preflight.outcome import Facts, VolumeReport

ROOT = Path("/data")


def _codes(*names):
    entries = [describe(ROOT / name, ROOT) for name in names]
    return [(found.rule.code, found.path.name) for found in between_files(ROOT, entries)]


def _report(name, *, digest="0", is_stripped=True):
    facts = Facts(shape=(50, 50, 50), voxel_mm=(3.0, 3.0, 3.0), axes="RAS", affine=np.eye(4),
                  voxels_digest=digest, is_stripped=is_stripped, background_share=0.6,
                  histogram=(1, 2), picture=None)
    return VolumeReport(describe(ROOT / name, ROOT), (), facts)


@pytest.mark.parametrize("name", [
    "sub-01_T1w.NII.GZ", "sub-02_T1w (1).nii.gz", "sub-03 T1w.nii.gz", "sub-04_Müller_T1w.nii.gz",
    "sub-05_T1w.nii.gz.part", "sub-06_T1w_copy.nii.gz", "T1w - Kopie.nii",
])
def test_unusual_names_of_scans_are_told(name):
    assert ("file-name", name) in _codes(name)


@pytest.mark.parametrize("name", [
    "sub-01_T1w.nii.gz", "IXI012-HH-1211-T1.nii.gz", "OAS1_0001_MR1_mpr-1_anon.hdr",
    "avg152T1_LR_nifti.nii.gz", "002_S_0295_MR_MP-RAGE.nii",
])
def test_plain_names_are_not(name):
    assert _codes(name) == []


def test_leftovers_are_told_once_a_folder():
    litter = [Entry(ROOT / name, Kind.LITTER, None, None, None)
              for name in ("a/.DS_Store", "a/._x.nii", "b/Thumbs.db")]
    found = between_files(ROOT, [*litter, describe(ROOT / "x_T1w.nii", ROOT)])
    assert [(one.path.name, one.found) for one in found] == [("a", ".DS_Store, ._x.nii"),
                                                            ("b", "Thumbs.db")]


def test_a_name_in_what_a_system_left_behind_is_told():
    litter = [Entry(ROOT / name, Kind.LITTER, None, None, None)
              for name in ("._DOE_JANE_T1w.nii.gz", ".DS_Store", "Thumbs.db", ".Trash-1000")]
    found = between_files(ROOT, [*litter, describe(ROOT / "x_T1w.nii", ROOT)])
    assert [one.path.name for one in found if one.rule.code == "identity-name"] == [
        "._DOE_JANE_T1w.nii.gz"]


def test_a_folders_name_is_told_once_for_all_its_files():
    names = [f"DOE^JANE/sub-01_{suffix}.nii.gz" for suffix in ("T1w", "T2w", "FLAIR")]
    assert len([code for code, _ in _codes(*names) if code == "identity-name"]) == 1


def test_equal_voxels_are_told_by_the_names_of_all_copies():
    found = between_scans(ROOT, [_report("a.nii"), _report("b.nii"), _report("c.nii", digest="1")])
    assert [(one.rule.code, one.path.name, one.found) for one in found] == [
        ("scan-twice", "a.nii", "the same voxels as b.nii")]


def test_coarse_scans_may_be_equal():
    assert between_scans(ROOT, [_report("a.nii", digest=None), _report("b.nii", digest=None)]) == []


def test_stripped_and_unstripped_scans_in_one_folder_are_counted():
    reports = [_report(f"{n}.nii", digest=str(n), is_stripped=n != 2) for n in range(5)]
    assert [(one.rule.code, one.found) for one in between_scans(ROOT, reports)] == [
        ("strip-mixed", "4 stripped, 1 not; not stripped: 2.nii")]


@pytest.mark.parametrize(("name", "code"), [
    ("participants.xls", "table-foreign"), ("key.sav", "table-foreign"),
    ("orig.mgz", "format-foreign")])
def test_what_is_not_read_has_the_advice_of_its_kind(name, code):
    assert (code, name) in _codes(name)


@pytest.mark.parametrize(("kind", "code"), [
    (Kind.HIDDEN, "folder-hidden"), (Kind.SPECIAL, "file-special"), (Kind.CLOSED, "file-unreadable")])
def test_what_is_not_entered_or_opened_is_told_where_it_is(kind, code):
    entry = Entry(ROOT / "a/thing", kind, None, None, None)
    assert (code, entry.path) in [(one.rule.code, one.path) for one in between_files(ROOT, [entry])]


@pytest.mark.parametrize(("kind", "code"), [(Kind.LOST, "link-lost"), (Kind.AGAIN, "link-again")])
def test_links_that_are_not_followed_are_told_once_a_folder(kind, code):
    entries = [Entry(ROOT / "a" / name, kind, None, None, None) for name in ("x", "y")]
    assert (code, "a", "x, y") in [(one.rule.code, one.path.name, one.found)
                                   for one in between_files(ROOT, entries)]


def test_of_a_scan_outside_of_the_folder_only_names_that_it_does_not_share_are_judged():
    root = Path("/home/doe_jane/tables")
    inside = describe(Path("/home/doe_jane/else/b_T1w.nii"), Path("/home/doe_jane/else"))
    named = describe(Path("/home/doe_jane/Roe_John/b_T1w.nii"), Path("/home/doe_jane/Roe_John"))
    found = between_files(root, [inside, named])
    assert [one.path.name for one in found if one.rule.code == "identity-name"] == ["Roe_John"]
