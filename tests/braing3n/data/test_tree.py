import pytest

from braing3n.data.tree import Kind, describe, stem_of


@pytest.mark.parametrize(("name", "kind"), [
    ("sub-01/anat/sub-01_T1w.nii.gz", Kind.SCAN), ("scan.hdr", Kind.SCAN),
    ("a_b.NII.GZ", Kind.SCAN), ("ASL.nii.gz", Kind.SCAN), ("sub-01_dseg.nii.gz", Kind.LABELS),
    ("derivatives/x/sub-01/anat/sub-01_desc-brain_mask.nii.gz", Kind.LABELS),
    ("sub-01/func/sub-01_task-rest_bold.nii.gz", Kind.IMAGE),
    ("derivatives/x/sub-01_desc-preproc_T1w.nii.gz", Kind.IMAGE),
    ("sub-01/fmap/anything.nii", Kind.IMAGE), ("participants.tsv", Kind.TABLE),
    ("people.XLSX", Kind.TABLE), ("sub-01_T1w.json", Kind.SIDECAR), ("orig.mgz", Kind.FOREIGN),
    ("t1.nrrd", Kind.FOREIGN), ("sub-01_T1w.nii.gz.part", Kind.PARTIAL),
    ("sub-01_T1w.nii (1).gz", Kind.PARTIAL), ("README", Kind.OTHER), ("dwi.bval", Kind.OTHER),
    ("participants.xls", Kind.FOREIGN_TABLE), ("key.SAV", Kind.FOREIGN_TABLE),
    ("dicom.tar.gz", Kind.ARCHIVE), ("scans.ZIP", Kind.ARCHIVE), ("IM1.gz", Kind.ARCHIVE),
    ("participants.tsv.gz", Kind.ARCHIVE), ("sub-01_T1w.nii.zip", Kind.FOREIGN),
    ("sub-01/func/sub-01_task-rest_physio.tsv.gz", Kind.OTHER),
])
def test_a_file_is_taken_for_what_name_and_place_say(name, kind, tmp_path):
    assert describe(tmp_path / name, tmp_path).kind is kind


def test_subject_session_and_modality_come_from_the_name_or_the_folders(tmp_path):
    entry = describe(tmp_path / "sub-01/ses-2/anat/sub-01_ses-2_ce-gd_T1w.nii.gz", tmp_path)
    assert (entry.subject, entry.session, entry.modality) == ("sub-01", "ses-2", "T1c")
    entry = describe(tmp_path / "sub-07/brain.nii", tmp_path)
    assert (entry.subject, entry.session, entry.modality) == ("sub-07", None, None)


def test_the_ending_of_a_name_is_cut_off_whole():
    assert [stem_of(name) for name in ("a_T1w.nii.gz", "a.b.nii", "a.HDR.GZ", "x.json", "plain")] == [
        "a_T1w", "a.b", "a", "x", "plain"]
