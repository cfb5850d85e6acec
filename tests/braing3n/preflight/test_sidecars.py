"""What is said of sidecars that are damaged, alone, or impossible."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.findings import Severity
from braing3n.preflight.sidecars import sidecar_findings

_NAME = "sub-01/anat/sub-01_T1w.json"


def _check(root, content, name=_NAME, scan_exists=True):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return sidecar_findings(path, scan_exists)


def _codes(findings):
    return [finding.rule.code for finding in findings]


def test_a_plain_sidecar_has_no_finding(tmp_path):
    assert _check(tmp_path, {"MagneticFieldStrength": 2.89, "Modality": "MR", "EchoTime": 0.003,
                             "RepetitionTime": 2.3, "InversionTime": 0.9, "PatientSex": "F",
                             "Manufacturer": None}) == []


@pytest.mark.parametrize("content", [
    {"BodyPartExamined": "KNEE"}, {"BodyPartExamined": "C-SPINE"},
    {"ImageType": ["DERIVED", "PRIMARY", "P", "ND"]}, {"ImageType": "DERIVED/PRIMARY/P"},
    {"SeriesDescription": "AAHead_Scout_64ch"},
    {"SeriesDescription": "t2_tse_spine"}, {"ProtocolName": "Localizer"},
])
def test_a_sidecar_that_tells_of_another_image_contradicts_an_anatomical_scan_alone(content, tmp_path):
    assert _codes(_check(tmp_path, content)) == ["sidecar-unclear"]
    assert _check(tmp_path, content, "sub-01/func/sub-01_task-a_bold.json") == []


@pytest.mark.parametrize("content", [
    {"BodyPartExamined": "Brain"}, {"BodyPartExamined": "HEADNECK"}, {"BodyPartExamined": None},
    {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]}, {"ImageType": 7},
    {"ImageType": "ORIGINAL/PRIMARY/M/ND/NORM"},
    {"SeriesDescription": "t1_mprage_sag_p2_iso"},
])
def test_what_ordinary_sidecars_say_of_the_image_passes(content, tmp_path):
    assert _check(tmp_path, content) == []


@pytest.mark.parametrize("name", [_NAME, "participants.json", "dataset_description.json", "T1w.json",
                                  "phenotype/ace.json", "sub-01/sub-01_sessions.json"])
@pytest.mark.parametrize("content", [b"", b"{not json", b"[1, 2]", b'{"a": "\xfc"}', b"[" * 10_000])
def test_what_is_no_json_object_is_damaged_wherever_it_is(name, content, tmp_path):
    (found,) = _check(tmp_path, content, name, scan_exists=False)
    assert (found.rule.code, found.path) == ("sidecar-damaged", tmp_path / name)


def test_a_link_to_nothing_is_damaged(tmp_path):
    (tmp_path / "T1w.json").symlink_to("nowhere.json")
    (found,) = sidecar_findings(tmp_path / "T1w.json", scan_exists=True)
    assert (found.rule.code, found.found) == ("sidecar-damaged", "a link to a file that is not there")


def test_a_sidecar_of_one_subject_without_its_image_is_an_orphan(tmp_path):
    assert _codes(_check(tmp_path, {}, scan_exists=False)) == ["sidecar-orphan"]
    bold = "sub-1/func/sub-1_task-a_bold.json"
    assert _codes(_check(tmp_path, {}, bold, scan_exists=False)) == ["sidecar-orphan"]
    assert _check(tmp_path, {}, scan_exists=True) == []


@pytest.mark.parametrize("name", [
    "T1w.json", "acq-x_T1w.json", "task-rest_bold.json", "participants.json", "phenotype/ace.json",
    "dataset_description.json", "sub-01/sub-01_sessions.json", "sub-01/ses-1/sub-01_ses-1_scans.json",
    "sub-01/func/sub-01_task-a_events.json", "sub-01/eeg/sub-01_coordsystem.json",
])
def test_what_describes_no_single_image_is_no_orphan(name, tmp_path):
    assert _check(tmp_path, {}, name, scan_exists=False) == []


@pytest.mark.parametrize(("value", "found"), [
    (15000, "15000, perhaps 1.5 T in gauss"),
    (3000, "3000, perhaps 0.3 T in gauss or 3 T in millitesla"),
    (1.5e6, "1.5e+06"), (0, "0"), (-3, "-3"), (12.1, "12.1"), (0.049, "0.049"),
    ("3T", "as the text '3T'"), ("1.5", "as the text '1.5'"),
    ("15000 gauss", "as the text '15000 gauss'"), ("Anna Weiss", "that is no number"),
    (True, "that is no number"), ([3], "that is no number"), ({"T": 3}, "that is no number"),
    (float("nan"), "that is no number"), (10**400, "that is no number"),
])
def test_field_strengths_that_cannot_be_are_told_with_what_may_be_meant(value, found, tmp_path):
    (finding,) = _check(tmp_path, {"MagneticFieldStrength": value})
    assert finding.rule.code == "sidecar-unclear"
    assert finding.rule.severity is Severity.WARN
    assert finding.found == f"MagneticFieldStrength {found}"
    assert finding.expected == "a number of tesla, 0.05 to 12"


@pytest.mark.parametrize("value", [0.05, 0.064, 0.55, 1, 1.5, 2.8936, 3, 7, 9.4, 11.7, 12, None])
def test_field_strengths_of_real_scanners_pass(value, tmp_path):
    assert _check(tmp_path, {"MagneticFieldStrength": value}) == []


@pytest.mark.parametrize(("field", "value", "found"), [
    ("EchoTime", 2.98, "2.98, perhaps in milliseconds"),
    ("EchoTime", [0.003, 9.1], "9.1, perhaps in milliseconds"),
    ("EchoTime", [3, 9], "3, perhaps in milliseconds"),
    ("RepetitionTime", 2300, "2300, perhaps in milliseconds"),
    ("InversionTime", 900.0, "900, perhaps in milliseconds"),
    ("EchoTime", -0.003, "-0.003"), ("RepetitionTime", "2.3 s", "that is no number"),
    ("EchoTime", "Anna Weiss", "that is no number"),
])
def test_times_in_milliseconds_are_told(field, value, found, tmp_path):
    (finding,) = _check(tmp_path, {field: value})
    assert (finding.rule.code, finding.found) == ("sidecar-unclear", f"{field} {found}")


def test_another_modality_is_told_and_no_other_word_is_repeated(tmp_path):
    (finding,) = _check(tmp_path, {"Modality": "ct"})
    assert (finding.found, finding.expected) == ("Modality CT", "MR")
    assert _check(tmp_path, {"Modality": "PT"}, "sub-01/pet/sub-01_pet.json") == []
    for value in ("MR", "MRI", "", "Anna Weiss", 3, ["CT"]):
        assert _check(tmp_path, {"Modality": value}) == []


def test_fields_that_come_twice_with_two_values_are_told(tmp_path):
    (finding,) = _check(tmp_path, '{"Name": "Anna", "Name": "Weiss", "a": 1, "a": 1}')
    assert finding.found == "fields that come again with another value: 1"
    assert _check(tmp_path, '{"a": 1, "a": 1}') == []


@pytest.mark.parametrize(("name", "scan_exists", "is_checked"), [
    ("T1w.json", False, True), ("acq-x_FLAIR.json", False, True), (_NAME, False, True),
    ("sub-01/anat/sub-01_PDw.json", False, True), ("images/p1.json", True, True),
    ("images/p1.json", False, False), ("participants.json", True, False),
    ("dataset_description.json", True, False), ("sub-01/func/sub-01_task-a_events.json", True, False),
])
def test_facts_are_checked_where_they_are_those_of_a_scan(name, scan_exists, is_checked, tmp_path):
    found = _codes(_check(tmp_path, {"MagneticFieldStrength": 30000}, name, scan_exists))
    assert ("sidecar-unclear" in found) == is_checked


_NAMES = st.sampled_from([_NAME, "T1w.json", "participants.json", "x.json"])
_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                       lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
_FACTS = st.sampled_from(["MagneticFieldStrength", "Modality", "EchoTime", "RepetitionTime",
                          "InversionTime", "PatientSex"])


@given(content=st.binary(max_size=300) | st.dictionaries(_FACTS, _VALUES).map(
    lambda fields: json.dumps(fields).encode()), name=_NAMES, scan_exists=st.booleans())
def test_any_bytes_give_findings_and_never_an_exception(tmp_path_factory, content, name, scan_exists):
    root = tmp_path_factory.getbasetemp()
    for finding in _check(root, content, name, scan_exists):
        assert finding.path == root / name
        assert finding.rule.code in {"sidecar-damaged", "sidecar-orphan", "sidecar-unclear"}


@given(st.text())
def test_texts_of_a_sidecar_are_not_repeated(tmp_path_factory, text):
    fields = dict.fromkeys(("MagneticFieldStrength", "EchoTime", "RepetitionTime", "Modality",
                            "PatientName"), f"Weiß{text}")
    found = _check(tmp_path_factory.getbasetemp(), fields)
    assert len(found) == 3
    assert not any("Weiß" in finding.found + finding.expected + finding.fix for finding in found)


def test_real_sidecars_have_nothing_worse_than_no_scan(test_data):
    checked = 0
    for folder in (test_data / "bids", test_data / "nifti/minicohort"):
        for path in sorted(folder.rglob("*.json")):
            image = path.name.removesuffix(".json")
            scan_exists = any(path.parent.glob(f"{image}.nii*"))
            checked += 1
            for finding in sidecar_findings(path, scan_exists):
                assert finding.rule.severity is Severity.INFO, finding
    assert checked > 200
