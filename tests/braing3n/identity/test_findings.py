import json
import re
import subprocess
import sys

import nibabel as nib
import numpy as np
import openpyxl
import pytest

from braing3n.data.nifti.extensions import (
    AFTER_VOXELS,
    BEFORE_VOXELS,
    GZIP_COMMENT,
    GZIP_NAME,
    UNREADABLE,
    Extension,
)
from braing3n.data.nifti.stored import read_nifti
from braing3n.data.nifti.texts import read_texts
from braing3n.identity.findings import header_findings, name_identity, sidecar_identity, table_identity
from braing3n.identity.long_texts import MAX_LONG

# Spellings that must not turn up in anything that is shown.
SECRETS = ("DOE", "JANE", "Doe", "Jane", "1966", "0012345", "2018", "jdoe", "1.2.826", "EXAMPLE")


def header(**texts):
    made = nib.Nifti1Header()
    for name, text in texts.items():
        made[name] = text.encode()
    return made


def said(findings):
    text = " | ".join(f"{found.rule.code}: {found.found}" for found in findings)
    assert not any(secret in text for secret in SECRETS)
    return text


def test_header_texts_are_named_by_their_field_and_kind(tmp_path):
    found = header_findings(tmp_path / "a.nii", header(
        descrip="DOE^JANE 19660101 MRN0012345", aux_file="Doe_Jane", db_name="0012345",
        intent_name="Dr Example"), ())
    assert said(found) == (
        "identity-header: descrip (a full date and a person's name and a record number), "
        "aux_file (a person's name), db_name (a record number), intent_name (a person's name)")


@pytest.mark.parametrize("text",
                         ["/data/study/a.nii", "D:\\scans\\a", "user@host", "1.2.826.0.1.3680043.2"])
def test_paths_hosts_and_uids_in_a_header_are_found(text, tmp_path):
    assert len(header_findings(tmp_path, header(descrip=text), ())) == 1


@pytest.mark.parametrize("text", [
    "FSL5.0", "6.0.1", "spm - 3D normalized", "FreeSurfer Nov 20 2013",
    "TE=2.98;Time=144052.115;phase=1",
    "FSL3.3\0 v2.25 NIfTI-1 Single file format",
    "www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009"])
def test_what_software_writes_into_a_header_passes(text, tmp_path):
    assert header_findings(tmp_path, header(descrip=text, aux_file="none   "), ()) == []


def test_a_nifti2_header_lacks_two_fields_has_another_and_is_judged_all_the_same(tmp_path):
    made = nib.Nifti2Header()
    made["descrip"], made["unused_str"] = b"DOE^JANE", b"Jane Doe"
    assert said(header_findings(tmp_path, made, ())) == (
        "identity-header: descrip (a person's name), unused_str (a person's name)")


@pytest.mark.parametrize(("code", "content", "expected"), [
    (6, b"a comment\0\0", None), (6, b"seen by DOE^JANE\0", "(code 6): a person's name"),
    (4, b"<AFNI>[jdoe@host: Tue Jul 10 11:38:47 2018]</AFNI>", "(code 4): a full date and an e-mail"),
    (0, json.dumps({"dcmmeta_version": 0.6, "global": {"const": {"PatientName": "DOE^JANE"}}}).encode(),
     "global.const.PatientName (a person's name)"),
    (0, json.dumps({"dcmmeta_version": 0.6, "global": {"const": {"EchoTime": 3}}}).encode(), None),
    (2, b"no dicom", "cannot be looked into"), (16, b"\x80\x04\x95\x01\x00", "cannot be looked into"),
    (20, np.float32([0, 1000]).tobytes(), None), (6, b"", None),
    (UNREADABLE, b"\x01\x02\x03", "bytes that are no extension"),
    (44, b"cal by /data/x/y.nii", "a path"),
    (4, b"<m><PatientName>Roe</PatientName></m>", "PatientName (a person's name)"),
    (6, b"Patient Name: Roe\n", "Patient Name (a person's name)"),
    (6, "DOB: 31.1.66".encode("utf-16-le"), "DOB (a full date)"),
    (32, b'<Vol IndexOffset="1"/>' * 12_000, None), (6, b"x " * 500_000, None),
    (6, b"x" * (MAX_LONG + 1), "cannot be looked into"),
    (GZIP_NAME, b"Doe_Xaver.nii", "the original name that gzip keeps: a person's name"),
    (GZIP_NAME, b"sub-01_T1w.nii", None),
    (GZIP_COMMENT, b"DOE^JANE", "the comment that gzip keeps: a person's name"),
    (AFTER_VOXELS, b"\nPatient: DOE^JANE\n", "bytes after the voxels: a person's name"),
    (AFTER_VOXELS, np.int16([1, 2, 300]).tobytes(), None),
    (BEFORE_VOXELS, b"DOE^JANE\0", "bytes before the voxels of the .img: a person's name"),
])
def test_extensions_are_judged_by_what_they_are(code, content, expected, tmp_path):
    found = said(header_findings(tmp_path, header(), [Extension(code, content)]))
    assert (expected in found) if expected else not found


def test_a_sidecar_is_named_by_its_keys(tmp_path):
    path = tmp_path / "sub-01_T1w.json"
    path.write_text(json.dumps({"PatientName": "DOE^JANE", "EchoTime": 3, "PatientAge": "095Y"}))
    assert said(sidecar_identity(path)) == (
        "identity-sidecar: PatientName (a person's name) | age-over-89: PatientAge (an age over 89)")


def test_a_damaged_sidecar_is_looked_through_and_a_missing_one_is_nothing(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"PatientName": "Jane Doe", "EchoTime": ')
    assert said(sidecar_identity(path)) == (
        "identity-sidecar: PatientName (a person's name), a person's name")
    assert sidecar_identity(tmp_path / "none.json") == []


def test_a_sidecar_in_utf16_is_read(tmp_path):
    path = tmp_path / "a.json"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_bytes('{"PatientName": "Roe"}'.encode(encoding))
        assert said(sidecar_identity(path)) == "identity-sidecar: PatientName (a person's name)"


def test_a_table_is_named_by_its_columns_and_ages_come_apart(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tage\tname\nsub-01\t95\tJane Doe\n")
    assert said(table_identity(path)) == (
        "identity-table: `name` (a person's name) | age-over-89: `age` (an age over 89)")


def test_the_unit_of_ages_is_read_from_the_dictionary_beside_the_table(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tage\nsub-01\t95\n")
    path.with_suffix(".json").write_text('{"age": {"Units": "months"}}')
    assert table_identity(path) == []


def test_all_sheets_of_a_workbook_are_judged_also_hidden_ones(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["participant_id", "age"])
    book.active.append(["sub-01", 40])
    key = book.create_sheet("key")
    key.append(["participant_id", "Nachname"])
    key.append(["sub-01", "Doe"])
    key.sheet_state = "hidden"
    book.save(tmp_path / "participants.xlsx")
    assert said(table_identity(tmp_path / "participants.xlsx")) == (
        "identity-table: sheet 2: `Nachname` (a person's name)")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"%PDF-1.4", b"a\tb\n\"1"])
def test_a_table_that_cannot_be_read_is_not_judged_here(content, tmp_path):
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    assert table_identity(path) == []


def test_names_of_files_and_folders_are_judged_below_the_root_alone(tmp_path):
    root = tmp_path / "Doe_Jane"
    path = root / "sub-01" / "20180710" / "MRN0012345_T1w.nii.gz"
    found = name_identity(path, root)
    assert [one.path for one in found] == [path.parent, path]
    assert said(found) == ("identity-name: the folder's name holds a full date | "
                           "identity-name: the file's name holds a record number")
    assert name_identity(root / "sub-04_Müller_T1w.nii.gz", root) == []
    assert set(name_identity(path.with_name("b"), root)) == {found[0]}


def test_made_defects_are_found_and_no_others(test_data, tmp_path):
    good = next((test_data / "nifti" / "minicohort" / "site-nsk").rglob("*_T1w.nii.gz"))
    script = test_data / "defects" / "make_defects.py"
    subprocess.run([sys.executable, str(script), str(good), str(tmp_path / "out")], check=True,
                   capture_output=True)
    found = {}
    for path in sorted((tmp_path / "out").rglob("*")):
        if path.name.startswith((".", "~")) or not path.is_file():
            continue
        case = path.relative_to(tmp_path / "out").parts[0]
        findings = name_identity(path, tmp_path / "out")
        if path.suffix == ".json" and case != "index.json":
            findings += sidecar_identity(path)
        elif path.suffix == ".tsv":
            findings += table_identity(path)
        elif case == "D68":
            stored = read_nifti(path)
            findings += header_findings(path, stored.header, stored.extensions)
        if findings:
            found[case] = said(findings)
    assert list(found) == ["D61", "D68", "D70", "D72"]
    assert len(re.findall(r"\(a", found["D68"])) == 4
    for key in ("PatientName", "PatientID", "PatientBirthDate", "ReferringPhysicianName",
                "AccessionNumber",
                "StudyInstanceUID", "AcquisitionDateTime"):
        assert key in found["D70"]
    assert all(column in found["D72"] for column in ("`name`", "`mrn`", "`DOB`", "`STUDY_DATE`"))


def test_real_sidecars_and_names_pass(test_data):
    paths = sorted(test_data.rglob("*.json"))
    assert len(paths) > 200
    for path in paths:
        assert sidecar_identity(path) == [], path
    for path in test_data.rglob("*"):
        assert name_identity(path, test_data) == [], path


def test_real_headers_pass(test_data):
    paths = [path for folder in ("minicohort", "formats", "orientations", "real")
             for path in (test_data / "nifti" / folder).rglob("*") if re.search(r"\.(nii|hdr)",
                                                                                path.name)]
    assert len(paths) > 90
    for path in paths:
        texts = read_texts(path)
        assert texts is not None
        assert header_findings(path, *texts) == [], path
