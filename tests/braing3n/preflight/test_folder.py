import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from braing3n.data.findings import Severity
from braing3n.errors import CohortError
from braing3n.preflight.folder import check_folder, check_listed
from braing3n.preflight.outcome import Wishes
from braing3n.preflight.output import as_json

# The code that each defect of the shared list must be found by. Its severity is in the list.
DEFECTS = {
    "D01": "gzip-truncated", "D03": "gzip-missing", "D04": "gzip-unnamed", "D05": "file-empty",
    "D06": "file-pointer", "D07": "file-short", "D08": "nifti-header", "D09": "file-trailing",
    "D11": "link-dangling", "D12": "file-litter", "D13": "file-name", "D14": "orientation-missing",
    "D16": "voxel-size-impossible", "D18": "units", "D19": "affine-sheared", "D22": "oblique",
    "D23": "orientation-stored", "D25": "slices-thick", "D26": "slices-few", "D27": "shape-not-3d",
    "D28": "field-of-view", "D29": "shape-squeezed", "D30": "shape-not-3d", "D31": "shape-not-3d",
    "D32": "type-not-intensity", "D34": "type-converted", "D36": "scale-applied",
    "D37": "voxels-not-finite", "D38": "voxels-not-finite", "D39": "voxels-constant",
    "D40": "voxels-few-values", "D42": "voxels-hot", "D44": "voxels-ct",
    "D45": "contrast-unexpected", "D48": "labels-grid", "D50": "labels-values",
    "D51": "row-without-scan", "D53": "id-mismatch", "D54": "table-bom", "D55": "table-line-ends",
    "D59": "table-column-name", "D60": "missing-spelling", "D61": "age-unclear",
    "D63": "site-spelling", "D66": "cells-small", "D68": "identity-header",
    "D70": "identity-sidecar", "D72": "identity-table",
}
# An age of 95 is among the unclear ages.
WORSE = {"D61": Severity.PRIVACY}
SITES = {"site-nsk": "sub-nsk001", "site-hh": "sub-hh012"}


def _codes(folder):
    return [found.rule.code for found in check_folder(folder).findings]


def _worst(preflight):
    return min((list(Severity).index(found.rule.severity) for found in preflight.findings),
               default=len(Severity))


@pytest.mark.parametrize("site", SITES)
def test_every_defect_of_the_shared_list_is_found_with_its_severity(site, test_data, tmp_path):
    good = test_data / f"nifti/minicohort/{site}/{SITES[site]}/anat/{SITES[site]}_T1w.nii.gz"
    subprocess.run([sys.executable, test_data / "defects/make_defects.py", good, tmp_path / "d"],
                   check=True, capture_output=True)
    cases = json.loads((tmp_path / "d" / "index.json").read_text())
    assert {case["id"] for case in cases} == set(DEFECTS)
    for case in cases:
        outcome = check_folder(tmp_path / "d" / case["id"])
        severities = {found.rule.code: found.rule.severity for found in outcome.findings}
        assert severities.get(DEFECTS[case["id"]]) == case["severity"], (case, severities)
        expected = WORSE.get(case["id"], Severity(case["severity"]))
        assert _worst(outcome) == list(Severity).index(expected), (case, severities)


@pytest.mark.parametrize("site", SITES)
def test_real_brains_of_two_hospitals_hold_without_a_warning(site, test_data):
    outcome = check_folder(test_data / "nifti/minicohort" / site)
    assert outcome.holds
    assert {found.rule.severity for found in outcome.findings} <= {Severity.INFO}
    assert len(outcome.volumes) == {"site-nsk": 48, "site-hh": 28}[site]


def test_odd_but_valid_formats_are_not_refused_and_others_are(test_data):
    outcome = check_folder(test_data / "nifti/formats")
    bad = {(found.path.name, found.rule.code) for found in outcome.findings
           if found.rule.severity in (Severity.ERROR, Severity.PRIVACY)}
    assert bad == {
        ("dipy_S0_4d_one_timepoint.nii.gz", "affine-sheared"),
        ("nibabel_example4d_oblique_ext.nii.gz", "shape-not-3d"),
        ("nibabel_functional_4d_slope.nii", "shape-not-3d"),
        ("nimh_minimal_no_qform_no_sform.nii.gz", "slices-few"),
        ("nnunet_abdomen_ct_int16_negative.nii.gz", "voxels-ct"), ("dicom", "dicom-left"),
    }


def test_one_brain_stored_in_twelve_ways_holds(test_data):
    outcome = check_folder(test_data / "nifti/orientations")
    assert outcome.holds
    assert len(outcome.volumes) == 12
    assert {found.rule.severity for found in outcome.findings} == {Severity.INFO}


def test_a_clean_folder_has_no_finding_and_the_json_says_what_was_looked_at(write_scan, tmp_path):
    for number in (1, 2, 3):
        write_scan(tmp_path / f"sub-0{number}/anat/sub-0{number}_T1w.nii.gz", seed=number)
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t30\tM\nsub-02\t40\tF\nsub-03\t50\tF\n")
    outcome = json.loads(as_json(check_folder(tmp_path)))
    informative = [found for found in outcome.pop("findings") if found["severity"] != "INFO"]
    assert not informative
    assert outcome == {"schema": 1, "folder": str(tmp_path), "num_files": 4, "num_volumes": 3}


def test_the_same_scan_under_two_names_is_told(write_scan, brain, tmp_path):
    voxels = np.pad(brain, 6)
    for number in (1, 2):
        write_scan(tmp_path / f"sub-0{number}_T1w.nii.gz", voxels)
    assert "scan-twice" in _codes(tmp_path)


def test_files_of_other_formats_are_told_what_to_be_turned_into(write_scan, tmp_path):
    write_scan(tmp_path / "sub-01_T1w.nii.gz")
    (tmp_path / "sub-02_T1w.mgz").write_bytes(b"\x1f\x8b")
    outcome = check_folder(tmp_path)
    foreign = next(found for found in outcome.findings if found.rule.code == "format-foreign")
    assert "mri_convert" in foreign.fix
    assert outcome.holds


def test_in_a_dataset_only_what_training_would_use_is_judged_as_a_scan(write_scan, tmp_path):
    write_scan(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    write_scan(tmp_path / "sub-01/func/sub-01_task-rest_bold.nii.gz")
    write_scan(tmp_path / "sub-01/anat/sub-01_PDw.nii.gz")
    outcome = check_folder(tmp_path)
    assert [volume.entry.path.name for volume in outcome.volumes] == ["sub-01_T1w.nii.gz"]
    unused = next(found for found in outcome.findings if found.rule.code == "file-unused")
    assert unused.found == ("1 PDw: sub-01/anat/sub-01_PDw.nii.gz, "
                            "1 bold: sub-01/func/sub-01_task-rest_bold.nii.gz")


def test_a_damaged_image_that_is_not_used_is_still_told(write_scan, tmp_path):
    write_scan(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    path = write_scan(tmp_path / "sub-01/func/sub-01_task-rest_bold.nii.gz")
    path.write_bytes(path.read_bytes()[:-20])
    assert "gzip-truncated" in _codes(tmp_path)


def test_a_folder_without_scans_does_not_hold(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    assert _codes(tmp_path) == ["scans-none", "file-not-read"]


def test_what_a_table_lists_is_looked_at_and_nothing_else(write_scan, tmp_path):
    good = write_scan(tmp_path / "data" / "a.nii.gz")
    write_scan(tmp_path / "data" / "other.nii.gz").write_bytes(b"")
    table = tmp_path / "scans.csv"
    table.write_text("subject,path,age,sex\n1,data/a.nii.gz,34,M\n2,data/gone.nii.gz,40,F\n")
    outcome = check_listed(table, [good, tmp_path / "data" / "gone.nii.gz"])
    assert [(found.rule.code, found.path.name) for found in outcome.findings
            if found.rule.severity is Severity.ERROR] == [("file-unreadable", "gone.nii.gz")]
    assert outcome.num_files == 3


def test_a_site_that_takes_stripped_scans_only_is_told_of_skulls_as_errors(test_data, tmp_path):
    head = test_data / "nifti/formats/nimh_avg152T1_RL_nifti.nii.gz"
    shutil.copy(head, tmp_path / "sub-01_T1w.nii.gz")
    assert check_folder(tmp_path).holds
    assert "skull-present" in _codes(tmp_path)
    refused = check_folder(tmp_path, Wishes(refuses_skulls=True))
    assert not refused.holds
    assert "skull-refused" in [found.rule.code for found in refused.findings]


def test_progress_counts_every_file(write_scan, tmp_path):
    write_scan(tmp_path / "a.nii")
    write_scan(tmp_path / "b.nii")
    seen: list[tuple[int, int]] = []
    check_folder(tmp_path, Wishes(progress=lambda done, all_: seen.append((done, all_))))
    assert seen == [(1, 2), (2, 2)]


def test_folders_that_cannot_be_listed_are_told_and_the_rest_is_checked(write_scan, tmp_path,
                                                                        monkeypatch):
    write_scan(tmp_path / "a_T1w.nii")
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr("braing3n.data.walk.os.scandir", scandir)
    outcome = check_folder(tmp_path)
    assert [(found.rule.code, found.path.name) for found in outcome.findings
            if found.rule.severity is Severity.ERROR] == [("file-unreadable", "closed")]
    assert len(outcome.volumes) == 1


def test_a_root_that_cannot_be_listed_is_an_error_with_its_name(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("braing3n.data.walk.os.scandir", refuse)
    with pytest.raises(CohortError, match=str(tmp_path)):
        check_folder(tmp_path)


def test_links_in_a_circle_end_in_findings(write_scan, tmp_path):
    write_scan(tmp_path / "a_T1w.nii")
    (tmp_path / "b_T1w.nii").symlink_to("b_T1w.nii")
    (tmp_path / "c").symlink_to("c")
    found = [(one.rule.code, one.path.name) for one in check_folder(tmp_path).findings]
    assert ("link-dangling", "b_T1w.nii") in found


def test_values_that_may_name_a_person_are_nowhere_in_the_output(test_data, tmp_path):
    good = test_data / "nifti/minicohort/site-nsk/sub-nsk001/anat/sub-nsk001_T1w.nii.gz"
    subprocess.run([sys.executable, test_data / "defects/make_defects.py", good, tmp_path / "d"],
                   check=True, capture_output=True)
    secrets = ("DOE", "Doe", "JANE", "Jane", "19660101", "1966-01-01", "0012345", "EXAMPLE",
               "1.2.826", "2018-07-10", "2005-11-18")
    for case in ("D68", "D70", "D72"):
        text = as_json(check_folder(tmp_path / "d" / case))
        assert not [secret for secret in secrets if secret in text]
    named = tmp_path / "named"
    shutil.copytree(tmp_path / "d" / "D09", named)
    (named / "sub-01_T1w.nii.gz").rename(named / "DOE_JANE_19660101_T1w.nii.gz")
    text = as_json(check_folder(named))
    assert "identity-name" in text
    assert not [secret for secret in secrets if secret in text]


def test_a_name_that_was_found_once_is_hidden_wherever_it_stands(write_scan, tmp_path):
    for label in ("DoeJane", "02", "03"):
        write_scan(tmp_path / f"sub-{label}/anat/sub-{label}_T1w.nii.gz", seed=len(label))
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-02\t34\tM\nsub-19590319Huber\t50\tF\n")
    text = as_json(check_folder(tmp_path))
    assert "scan-without-row" in text
    assert not [name for name in ("Doe", "Jane", "Huber") if name in text]


def test_what_is_known_of_the_subjects_is_told(write_scan, tmp_path):
    for number in (1, 2, 3):
        write_scan(tmp_path / f"sub-0{number}/anat/sub-0{number}_T1w.nii.gz", seed=number)
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t30\tM\nsub-02\tn/a\tF\nsub-03\t50\tF\n")
    assert check_folder(tmp_path).known == (
        "cohort: 3 subjects, 3 visits, 3 T1w",
        "known of 3 subjects: age of 2, sex of 3 (F 2, M 1), diagnosis of 0, severity of 0")


def test_a_dataset_without_a_table_is_told_and_loose_files_need_none(write_scan, tmp_path):
    write_scan(tmp_path / "loose/sub-01_T1w.nii.gz")
    write_scan(tmp_path / "set/sub-01/anat/sub-01_T1w.nii.gz")
    assert "table-missing" not in _codes(tmp_path / "loose")
    assert "table-missing" in _codes(tmp_path / "set")


def _placed(folder):
    return {(found.rule.code, found.path.name, found.rule.severity)
            for found in check_folder(folder).findings}


def test_what_nobody_looks_into_is_a_warning_and_dicom_in_it_more(write_scan, test_data, tmp_path):
    dicom = (test_data / "nifti/formats/dicom/N2D_0192.dcm").read_bytes()
    write_scan(tmp_path / "sub-01_T1w.nii.gz")
    (tmp_path / "scans.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "notes.json.gz").write_bytes(gzip.compress(b"{}"))
    for folder, content in (("packed/IM1.gz", gzip.compress(dicom)), ("bare/IM1", dicom[132:])):
        (tmp_path / folder).parent.mkdir()
        (tmp_path / folder).write_bytes(content)
    assert {("archive-unread", "scans.zip", Severity.WARN),
            ("archive-unread", "notes.json.gz", Severity.WARN),
            ("dicom-left", "packed", Severity.PRIVACY),
            ("dicom-left", "bare", Severity.PRIVACY)} <= _placed(tmp_path)


@pytest.mark.parametrize("name", ["sub-02_T1w.nii", "sub-02_dseg.nii.gz", "sub-02_bold.nii", "IM1.img"])
@pytest.mark.parametrize("is_packed", [True, False])
def test_dicom_under_the_name_of_a_nifti_file_is_told_beside_the_error(name, is_packed, write_scan,
                                                                       test_data, tmp_path):
    dicom = (test_data / "nifti/formats/dicom/N2D_0192.dcm").read_bytes()
    write_scan(tmp_path / "sub-01_T1w.nii.gz")
    (tmp_path / name).write_bytes(gzip.compress(dicom) if is_packed else dicom)
    found = _placed(tmp_path)
    assert ("dicom-left", name, Severity.PRIVACY) in found
    assert Severity.ERROR in {severity for _, where, severity in found if where == name}


def test_a_scan_is_looked_at_though_its_folder_was_entered_through_another_link(write_scan, tmp_path):
    write_scan(tmp_path / "far/sub-01_T1w.nii.gz").write_bytes(b"")
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "sub-01").mkdir()
    (root / "a/raw").symlink_to(tmp_path / "far")
    (root / "sub-01/anat").symlink_to(tmp_path / "far")
    write_scan(root / "sub-02/anat/sub-02_T1w.nii.gz")
    found = check_folder(root)
    assert {volume.entry.path.relative_to(root).as_posix() for volume in found.volumes} == {
        "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz"}
    assert not found.holds


def test_a_subject_with_a_time_series_alone_does_not_stop_the_others(write_scan, tmp_path):
    for subject in ("01", "03"):
        write_scan(tmp_path / f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz", seed=int(subject))
    write_scan(tmp_path / "sub-02/func/sub-02_task-rest_bold.nii.gz")
    write_scan(tmp_path / "derivatives/x/sub-04/func/sub-04_task-rest_bold.nii.gz")
    write_scan(tmp_path / "sub-05/sub-05_T1w.nii.gz")  # in the wrong place
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\n" + "".join(
        f"sub-0{number}\t{30 + number}\tM\n" for number in range(1, 6)))
    found = {one.rule.code: one.found for one in check_folder(tmp_path).findings}
    assert (found["row-without-anatomy"], found["row-without-scan"]) == ("sub-02", "sub-04, sub-05")


def test_a_table_may_list_scans_outside_of_its_folder_whose_names_are_judged(write_scan, tmp_path):
    good = write_scan(tmp_path / "else/b.nii.gz")
    named = write_scan(tmp_path / "Mustermann_Xaver/c.nii.gz", seed=1)
    (tmp_path / "d").mkdir()
    table = tmp_path / "d/scans.csv"
    table.write_text(f"subject,path\ns1,{good}\ns2,{named}\n")
    outcome = check_listed(table, [good, named])
    assert len(outcome.volumes) == 2
    assert [found.path.name for found in outcome.findings if found.rule.code == "identity-name"] == [
        "Mustermann_Xaver"]
    assert "Mustermann" not in as_json(outcome)


def test_a_text_file_that_names_a_patient_is_told(write_scan, tmp_path):
    write_scan(tmp_path / "sub-01_T1w.nii.gz")
    (tmp_path / "session.xml").write_text("<PatientName>Mustermann</PatientName>")
    (tmp_path / "README").write_text("by Jane Doe, 2018-07-10")
    found = [(one.rule.code, one.path.name) for one in check_folder(tmp_path).findings
             if one.rule.severity is Severity.PRIVACY]
    assert found == [("identity-text", "session.xml")]
