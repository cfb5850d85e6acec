import json

import numpy as np
import pytest

from braing3n.config import DataConfig
from braing3n.data.cohort import is_held_out, open_cohort
from braing3n.errors import CohortError


def _touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _open(root):
    return open_cohort(DataConfig(folder=root))


def test_scans_of_a_bids_folder_are_found_and_sorted(tmp_path):
    _touch(tmp_path, "sub-02/anat/sub-02_T1w.nii.gz", "sub-01/ses-b/anat/sub-01_ses-b_FLAIR.nii",
           "sub-01/ses-a/anat/sub-01_ses-a_acq-x_run-1_T1w.nii.gz",
           "sub-01/ses-a/anat/sub-01_ses-a_ce-gadolinium_T1w.NII.GZ",
           "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz")
    found = [(v.subject, v.session, v.modality) for v in _open(tmp_path).volumes]
    assert found == [("sub-01", "ses-a", "T1c"), ("sub-01", "ses-a", "T1w"),
                     ("sub-01", "ses-a", "T2w"), ("sub-01", "ses-b", "FLAIR"),
                     ("sub-02", None, "T1w")]


def test_derivatives_dot_files_and_other_kinds_are_left_aside(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/._sub-01_T1w.nii.gz",
           "sub-01/anat/sub-01_part-phase_T1w.nii.gz", "sub-01/anat/sub-01_dseg.nii.gz",
           "sub-01/anat/sub-02_T1w.nii.gz", "sub-01/func/sub-01_task-rest_bold.nii.gz",
           "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w (1).nii.gz")
    cohort = _open(tmp_path)
    assert [v.path.name for v in cohort.volumes] == ["sub-01_T1w.nii.gz"]
    note = next(note for note in cohort.notes if "not used" in note)
    assert "(4)" in note
    assert "sub-01_dseg.nii.gz" in note


def test_participants_sessions_and_sidecars_are_joined(tmp_path):
    _touch(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
           "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\tgroup\nsub-01\t70\tF\tMCI\n02\t61\t1\thealthy\n")
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text(
        "session_id\tage\tmmse\nses-1\tn/a\t30\nses-2\t73.5\t24\n")
    (tmp_path / "T1w.json").write_text(json.dumps({"MagneticFieldStrength": 1.5}))
    (tmp_path / "T2w.json").write_text(json.dumps({"MagneticFieldStrength": 7}))
    (tmp_path / "sub-01/ses-2/anat/sub-01_ses-2_T1w.json").write_text(
        json.dumps({"MagneticFieldStrength": 2.89}))
    cohort = _open(tmp_path)
    first, second, other = (v.conditions for v in cohort.volumes)
    assert (first.age_years, first.severity, first.field_strength) == (70.0, 0.0, "1.5T")
    assert (second.age_years, second.sex, second.diagnosis) == (73.5, "F", "MCI")
    assert (second.severity, second.field_strength) == (0.2, "3T")
    assert (other.age_years, other.sex, other.diagnosis) == (61.0, None, "HC")
    assert cohort.notes == ("sex '1' is not understood and counts as unknown (1 scan)",)


def test_subjects_without_scans_and_scans_without_rows_are_noted(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii", "sub-02/anat/sub-02_T1w.nii")
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-02\t30\nsub-09\t40\n")
    notes = " ".join(_open(tmp_path).notes)
    assert "have no scan (1): sub-09" in notes
    assert "not in participants.tsv (1): sub-01" in notes


def test_rows_that_contradict_each_other_are_not_used(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii")
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-01\t60\n")
    cohort = _open(tmp_path)
    assert cohort.volumes[0].conditions.age_years is None
    assert "differ" in cohort.notes[0]


def test_a_damaged_sidecar_is_noted(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii")
    (tmp_path / "sub-01/anat/sub-01_T1w.json").write_text("{not json")
    assert any("not JSON" in note for note in _open(tmp_path).notes)


def test_an_empty_or_wrong_folder_says_what_was_expected(tmp_path):
    with pytest.raises(CohortError, match="the folder is empty"):
        _open(tmp_path)
    with pytest.raises(CohortError, match="is not there"):
        _open(tmp_path / "no")
    _touch(tmp_path, "site-a/sub-01/anat/x_T1w.nii")
    with pytest.raises(CohortError, match=r"name one of .*site-a"):
        _open(tmp_path)
    with pytest.raises(CohortError, match="1 sub-\\* folders without"):
        _open(tmp_path / "site-a")


def test_a_table_lists_scans_relative_to_itself(tmp_path):
    (tmp_path / "scans.csv").write_bytes(
        b"\xef\xbb\xbfSubject,Path,session,modality,Age\r\n"
        b"p2,data/b.nii,,t1ce,50\r\np1,data/a_T2w.nii.gz,v1,,40\r\n,data/c.nii,,T1w,1\r\n"
        b"p3,data/b.nii,,T1w,3\r\np4,data/odd.nii,,,\r\n")
    cohort = open_cohort(DataConfig(table=tmp_path / "scans.csv"))
    assert [(v.subject, v.session, v.modality, v.conditions.age_years)
            for v in cohort.volumes] == [("p1", "v1", "T2w", 40.0), ("p2", None, "T1c", 50.0),
                                         ("p4", None, "unknown", None)]
    assert cohort.volumes[0].path == tmp_path / "data/a_T2w.nii.gz"
    assert cohort.volumes[2].conditions.modality is None
    assert any("row 3" in note for note in cohort.notes)
    assert any("listed twice" in note for note in cohort.notes)


@pytest.mark.parametrize("content", ["id,file\na,b\n", "subject,path\n", "subject,path\n,x\n"])
def test_a_table_without_scans_is_refused(content, tmp_path):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(CohortError, match=r"t\.csv"):
        open_cohort(DataConfig(table=tmp_path / "t.csv"))


def test_the_held_out_share_is_about_right_and_nested():
    subjects = [f"sub-{i:04d}" for i in range(4000)]
    held = {share: {s for s in subjects if is_held_out(s, share)} for share in (0.0, 0.2, 0.5)}
    assert not held[0.0]
    # Five standard deviations of a binomial.
    assert abs(len(held[0.2]) / 4000 - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 4000)
    assert held[0.2] < held[0.5]


def test_the_real_mini_cohort_is_found_whole(test_data):
    for site, number, diagnoses in (("site-nsk", 48, {"HC", "MDD"}), ("site-hh", 28, {"HC"})):
        cohort = _open(test_data / "nifti/minicohort" / site)
        assert len(cohort.volumes) == number
        assert cohort.notes == ()
        assert {v.conditions.diagnosis for v in cohort.volumes} == diagnoses
        assert all(v.conditions.age_years and v.conditions.sex for v in cohort.volumes)
