import pytest

from braing3n.identity.content import Kind
from braing3n.identity.findings import text_identity
from braing3n.identity.long_texts import MAX_LONG
from braing3n.identity.text_files import text_file_hits


def judge(tmp_path, content, name="notes.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [hit.kind for hit in text_file_hits(path)]


@pytest.mark.parametrize(("text", "kind"), [
    ("PatientName = Mustermann", Kind.NAME), ("<PatientName>Mustermann</PatientName>", Kind.NAME),
    ("Patient's Name: Mustermann", Kind.NAME), ("Nachname: Mustermann", Kind.NAME),
    ("OperatorsName: Quandt", Kind.NAME), ("sub-01 = Jane Doe", Kind.NAME),
    ("Patient 12: Erika Mustermann", Kind.NAME), ("DOB: 31.1.66", Kind.DATE),
    ("<dob>1966-01-01</dob>", Kind.DATE), ("Jane, born 1966-01-01", Kind.DATE),
    ("MRN 0012345", Kind.RECORD), ("Patient ID: 0012345", Kind.RECORD),
    ("Accession Number: 4711", Kind.RECORD), ("Patient phone: 0221 4780", Kind.PHONE),
    ("patient e-mail address: a@b.org", Kind.EMAIL), ("PatientAge: 093Y", Kind.AGE),
    ("SSN 078-05-1120", Kind.PERSONAL),
    (r"{\rtf1\ansi\deff0 \par Patient name: Mustermann\par}", Kind.NAME),
    ("PatientName: Mustermann".encode("utf-16"), Kind.NAME),
    ("x " * 20_000 + "\nDOB: 31.1.66", Kind.DATE)])
def test_what_a_text_says_of_a_patient_is_found(text, kind, tmp_path):
    assert kind in judge(tmp_path, text)


@pytest.mark.parametrize("text", [
    "", "1.0.0 2018-07-10\n - Initial release by Jane Doe <jane@x.org>",
    "Contact: Dr. Quandt, +49 221 4567890",
    "First name: Jane\nFamily names: Doe\nE-mail address: a@b.org", "Copyright 2019 Max Mustermann",
    "OpenNeuro Accession Number: ds002748", "Accession Number: GSE123456", "DOB: not collected",
    "The names of patients: removed by hand", "Age: 18 - 95 years", "grant no. R01 MH123456",
    "PatientName: anonymous", "sub-01: repeated on 2018-07-10",
    "see doi:10.18112/openneuro.ds002748.v1.0.5",
    "Patients were scanned from 2018-07-10", "/home/user/data", "mtime: 1531222727", "operator: '=='",
    "version: 20180710",
    "cm^{2} and DOE^JANE"])
def test_what_every_data_set_says_of_itself_passes(text, tmp_path):
    assert judge(tmp_path, text, "README") == []


def test_other_and_larger_files_are_not_looked_into(tmp_path):
    secret = b"PatientName: Mustermann\n"
    assert judge(tmp_path, secret, "a.py") == []
    assert judge(tmp_path, secret + bytes(500)) == []
    assert judge(tmp_path, secret + b"x" * MAX_LONG) == []
    assert text_file_hits(tmp_path) == ()
    assert text_identity(tmp_path / "none.txt") == []


def test_a_finding_says_where_and_never_what(tmp_path):
    path = tmp_path / "session.xml"
    path.write_text("<PatientName>Mustermann</PatientName><Age>95</Age><PatientAge>095Y</PatientAge>")
    assert [(one.rule.code, one.found) for one in text_identity(path)] == [
        ("identity-text", "PatientName (a person's name)"),
        ("age-over-89", "PatientAge (an age over 89)")]


def test_texts_of_real_data_sets_pass(test_data):
    paths = [path for path in test_data.rglob("*")
             if path.suffix.lower() in ("", ".txt", ".md", ".log")]
    assert len(paths) > 3
    for path in paths:
        assert text_identity(path) == [], path
