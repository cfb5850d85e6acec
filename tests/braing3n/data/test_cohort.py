import json

import openpyxl
import pytest

from braing3n.config import DataConfig
from braing3n.data.cohort import open_cohort
from braing3n.errors import CohortError, ConfigError


def _touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _open(root, mapping=None):
    return open_cohort(DataConfig(folder=root, mapping=_mapping(root, mapping)))


def _open_table(path, mapping=None):
    return open_cohort(DataConfig(table=path, mapping=_mapping(path.parent, mapping)))


def _mapping(folder, text):
    if text is None:
        return None
    path = folder / "mapping.yaml"
    path.write_text(text)
    return path


def _known(cohort):
    return {(v.subject, v.session): (v.conditions.age_years, v.conditions.sex) for v in cohort.volumes}


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
        "participant_id\tage\tsex\tgroup\nsub-01\t70\tF\tMCI\nsub-02\t61\t1\thealthy\n")
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


def test_sidecars_tell_age_and_sex_only_where_the_tables_say_nothing(tmp_path):
    _touch(tmp_path, *(f"sub-0{n}/anat/sub-0{n}_T1w.nii" for n in (1, 2, 3)))
    (tmp_path / "T1w.json").write_text(json.dumps({"PatientAge": "045Y", "PatientSex": "F"}))
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t46\tM\nsub-02\tn/a\tn/a\nsub-03\t46-50\tU\n")
    cohort = _open(tmp_path)
    assert _known(cohort) == {("sub-01", None): (46.0, "M"), ("sub-02", None): (45.0, "F"),
                              ("sub-03", None): (None, None)}
    assert len(cohort.notes) == 2  # the range and the U


def test_subjects_without_scans_and_scans_without_rows_are_noted(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii", "sub-02/anat/sub-02_T1w.nii")
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-02\t30\nsub-09\t40\n\t50\n")
    notes = " ".join(_open(tmp_path).notes)
    assert "have no scan (1): sub-09" in notes
    assert "not in participants.tsv (1): sub-01" in notes
    assert "1 rows of participants.tsv name no subject" in notes


@pytest.mark.parametrize("name", ["1", "01", "sub-1", "SUB-01", "sub-01 ", "sub_01", "1.0"])
def test_an_id_is_joined_only_when_it_is_the_folder_s_name(name, tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii")
    (tmp_path / "participants.tsv").write_text(f"participant_id\tage\n{name}\t30\n")
    cohort = _open(tmp_path)
    assert _known(cohort) == {("sub-01", None): (None, None)}
    assert len(cohort.notes) == 1
    assert f"{name!r} is perhaps sub-01" in cohort.notes[0]
    mapped = _open(tmp_path, "subject: {column: participant_id, prefix: sub-, zeros: 2}\n")
    assert (mapped.notes == ()) == (name != "sub_01")
    assert _known(mapped)["sub-01", None][0] == (30.0 if name != "sub_01" else None)


def test_rows_that_contradict_each_other_are_not_used(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii")
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t30\tM\nsub-01\t60\tM\n")
    cohort = _open(tmp_path)
    assert _known(cohort) == {("sub-01", None): (None, None)}
    assert "differ" in cohort.notes[0]


def test_a_damaged_sidecar_or_dictionary_is_noted(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii")
    (tmp_path / "sub-01/anat/sub-01_T1w.json").write_text("{not json")
    (tmp_path / "participants.tsv").write_text("participant_id\tsex\nsub-01\tM\n")
    (tmp_path / "participants.json").write_text("[]")
    notes = _open(tmp_path).notes
    assert any("not JSON" in note for note in notes)
    assert any("participants.json: JSON, but not an object" in note for note in notes)


def test_a_sessions_table_that_cannot_be_read_costs_that_table_alone(tmp_path):
    _touch(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii")
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-02\t40\n")
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("")
    (tmp_path / "sub-02/sub-02_sessions.tsv").write_text("session_id\tage\nses-1\t41\nses-7\t44\n")
    cohort = _open(tmp_path)
    assert _known(cohort) == {("sub-01", "ses-1"): (30.0, None), ("sub-02", "ses-1"): (41.0, None)}
    assert any("sub-01_sessions.tsv is not used" in note for note in cohort.notes)
    assert any("visits of sub-02_sessions.tsv have no scan (1): 7" in note for note in cohort.notes)


def test_visits_of_participants_that_no_folder_has_are_noted(tmp_path):
    _touch(tmp_path, "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii", "sub-02/anat/sub-02_T1w.nii")
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tsession_id\tage\nsub-01\t1\t30\nsub-01\tses-01\t31\nsub-02\t1\t40\n")
    cohort = _open(tmp_path)
    assert _known(cohort) == {("sub-01", "ses-01"): (31.0, None), ("sub-02", None): (40.0, None)}
    assert cohort.notes == ("visits of participants.tsv have no scan (1): sub-01 at 1",)


def test_what_may_be_a_date_or_an_age_over_89_is_not_repeated_in_a_note(tmp_path):
    ages = ("1966-01-01", "1.2.66", "97+", "0012345", "22-25", "x" * 50)
    _touch(tmp_path, *(f"sub-{n}/anat/sub-{n}_T1w.nii" for n in range(len(ages))))
    (tmp_path / "participants.tsv").write_text("participant_id\tage\n" + "".join(
        f"sub-{n}\t{age}\n" for n, age in enumerate(ages)))
    notes = " ".join(_open(tmp_path).notes)
    assert "'22-25'" in notes
    assert not any(age in notes for age in ages if age != "22-25")
    assert "age with 10 characters is not understood" in notes


def test_a_table_in_another_encoding_is_used_and_noted(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii")
    (tmp_path / "participants.tsv").write_bytes(
        "participant_id\tage\tcity\r\nsub-01\t30\tKöln\r\n".encode("latin-1"))
    cohort = _open(tmp_path)
    assert _known(cohort) == {("sub-01", None): (30.0, None)}
    assert len(cohort.notes) == 1
    assert "not UTF-8" in cohort.notes[0]


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


def test_a_participants_table_without_ids_is_refused(tmp_path):
    _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii")
    (tmp_path / "participants.tsv").write_text("code\tage\nsub-01\t30\n")
    with pytest.raises(CohortError, match="participant_id"):
        _open(tmp_path)
    assert _known(_open(tmp_path, "subject: Code\n")) == {("sub-01", None): (30.0, None)}
    with pytest.raises(ConfigError, match="of its columns: code, age"):
        _open(tmp_path, "subject: Code\nsex: SEX\n")


def test_a_table_lists_scans_relative_to_itself(tmp_path):
    (tmp_path / "scans.csv").write_bytes(
        b"\xef\xbb\xbfSubject,Path,session,modality,Age\r\n"
        b"p2,data/b.nii,,t1ce,50\r\np1,data/a_T2w.nii.gz,v1,,40\r\n,data/c.nii,,T1w,1\r\n"
        b"p3,data/b.nii,,T1w,3\r\np4,data/odd.nii,,,\r\n")
    cohort = _open_table(tmp_path / "scans.csv")
    assert [(v.subject, v.session, v.modality, v.conditions.age_years)
            for v in cohort.volumes] == [("p1", "v1", "T2w", 40.0), ("p2", None, "T1c", 50.0),
                                         ("p4", None, "unknown", None)]
    assert cohort.volumes[0].path == tmp_path / "data/a_T2w.nii.gz"
    assert cohort.volumes[2].conditions.modality is None
    assert any("line 4" in note for note in cohort.notes)
    assert any("listed twice" in note for note in cohort.notes)


def test_a_workbook_with_its_own_words_is_read_by_a_mapping(tmp_path):
    book = openpyxl.Workbook()
    for row in (["Nr.", "File", "Months", "G", "Dx", "Kind", "Score", "Centre"],
                [7, "a.nii", 540, 1, "a", "MPRAGE", 24, "nyu"],
                [8, "b.nii", 600, 2, "b", "x", 30, "NYU "],
                [9, "c.nii", "n/a", 3, "c", "TSE", None, "n/a"]):
        book.active.append(row)
    book.save(tmp_path / "scans.xlsx")
    cohort = _open_table(tmp_path / "scans.xlsx", """
        subject: {column: nr, prefix: p, zeros: 3}
        path: File
        modality: {column: Kind, codes: {MPRAGE: T1w, TSE: T2w}}
        age_years: {column: Months, unit: months}
        sex: {column: G, codes: {1: M, 2: F}}
        diagnosis: {column: Dx, codes: {a: HC, b: AD}}
        severity: {column: Score, scale: mmse}
        site: {column: Centre}
    """.replace("\n        ", "\n"))
    assert [(v.subject, v.modality, v.conditions.age_years, v.conditions.sex, v.conditions.diagnosis,
             v.conditions.severity, v.site) for v in cohort.volumes] == [
        ("p007", "T1w", 45.0, "M", "HC", 0.2, "nyu"), ("p008", "unknown", 50.0, "F", "AD", 0.0, "NYU "),
        ("p009", "T2w", None, None, None, None, None)]
    assert len(cohort.notes) == 3  # sex 3, diagnosis c, and no site


def test_rows_of_one_subject_and_visit_in_a_table_of_scans_must_agree(tmp_path):
    (tmp_path / "scans.csv").write_text(
        "subject,path,session,sex,age\na,1.nii,v1,M,30\na,2.nii,v1,M,31\na,3.nii,v2,M,33\n"
        "b,4.nii,v1,F,40\nb,5.nii,v2,M,41\nc,6.nii,,F,20\nc,7.nii,,,25\n")
    cohort = _open_table(tmp_path / "scans.csv")
    assert [(v.path.stem, v.conditions.age_years, v.conditions.sex) for v in cohort.volumes] == [
        ("1", None, "M"), ("2", None, "M"), ("3", 33.0, "M"), ("4", 40.0, None), ("5", 41.0, None),
        ("6", 20.0, "F"), ("7", 25.0, "F")]
    assert any("(2): a at v1, b" in note for note in cohort.notes)


@pytest.mark.parametrize("content", ["id,file\na,b\n", "subject,path\n", "subject,path\n,x\n"])
def test_a_table_without_scans_is_refused(content, tmp_path):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(CohortError, match=r"t\.csv"):
        _open_table(tmp_path / "t.csv")


@pytest.mark.parametrize(("site", "sites"), [
    ("{id_pattern: 'sub-(?P<site>[a-z]+)'}", ["hh", "nsk"]),
    ("{file_pattern: 'acq-(?P<site>[A-Z]+)', codes: {B: Bonn}}", ["A", "Bonn"]),
    ("{session_pattern: 'ses-(?P<site>.)'}", ["1", None]),
    ("{sidecar: [InstitutionName, DeviceSerialNumber]}", ["Guys", "35343"]),
    ("centre", ["X", "Y"]), ("{column: Centre, codes: {x: Xanten, y: n/a}}", ["Xanten", None]),
])
def test_a_site_is_told_in_one_of_five_places(site, sites, tmp_path):
    _touch(tmp_path, "sub-hh1/ses-1/anat/sub-hh1_ses-1_acq-A_T1w.nii",
           "sub-nsk2/anat/sub-nsk2_acq-B_T1w.nii")
    (tmp_path / "sub-hh1/ses-1/anat/sub-hh1_ses-1_T1w.json").write_text(
        '{"InstitutionName": "Guys", "DeviceSerialNumber": "1"}')
    (tmp_path / "sub-nsk2/anat/sub-nsk2_T1w.json").write_text(
        '{"InstitutionName": "n/a", "DeviceSerialNumber": 35343.0}')
    (tmp_path / "participants.tsv").write_text("participant_id\tcentre\nsub-hh1\tX\nsub-nsk2\tY\n")
    cohort = _open(tmp_path, f"subject: participant_id\nsite: {site}\n")
    assert [v.site for v in cohort.volumes] == sites
    assert any("have no site" in note for note in cohort.notes) == (None in sites)


def test_without_a_mapping_the_site_is_the_column_of_that_name_as_written(tmp_path):
    _touch(tmp_path, *(f"sub-0{n}/anat/sub-0{n}_T1w.nii" for n in (1, 2, 3)))
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tsite\nsub-01\tNYU\nsub-02\tNYU \nsub-03\tn/a\n")
    assert [v.site for v in _open(tmp_path).volumes] == ["NYU", "NYU ", None]


def test_the_real_mini_cohort_is_found_whole(test_data):
    for site, number, diagnoses in (("site-nsk", 48, {"HC", "MDD"}), ("site-hh", 28, {"HC"})):
        cohort = _open(test_data / "nifti/minicohort" / site)
        assert len(cohort.volumes) == number
        assert cohort.notes == ()
        assert {v.conditions.diagnosis for v in cohort.volumes} == diagnoses
        assert all(v.conditions.age_years and v.conditions.sex for v in cohort.volumes)
