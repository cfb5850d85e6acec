import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.identity.content import Kind, describe_hits
from braing3n.identity.json_text import UnreadableJsonError, clean_json

SIDECAR = {
    "Manufacturer": "Siemens", "EchoTime": 0.00298, "PatientSex": "F", "PatientWeight": 71,
    "PatientName": "DOE^JANE", "PatientID": "0012345", "PatientBirthDate": "1966-01-01",
    "ReferringPhysicianName": "EXAMPLE^A", "AccessionNumber": "A1", "StudyInstanceUID": "1.2.3.4",
    "AcquisitionDateTime": "2018-07-10T11:38:47.392500", "AcquisitionTime": "11:38:47",
    "InstitutionAddress": "Example Street 1", "DeviceSerialNumber": "35343",
    "AcquisitionDate": 20180710,
    "global": {"const": {"PatientID": "4711", "EchoTime": 3},
               "slices": [{"OperatorsName": "JD"}, {"a": 1}]},
    "Notes": ["ok", "call jdoe@x.org"], "DOE^JANE": 1, "PatientAge": "092Y", "StartTime": 1531222727,
}
KEPT = {
    "Manufacturer": "Siemens", "EchoTime": 0.00298, "PatientSex": "F", "PatientWeight": 71,
    "AcquisitionTime": "11:38:47", "InstitutionAddress": "Example Street 1",
    "DeviceSerialNumber": "35343", "global": {"const": {"EchoTime": 3}, "slices": [{}, {"a": 1}]},
}


def test_fields_that_may_name_a_person_go_and_all_others_stay():
    text, hits = clean_json(json.dumps(SIDECAR))
    assert json.loads(text) == KEPT
    said = describe_hits(hits)
    assert "PatientName (a person's name)" in said
    assert "global.const.PatientID (a record number)" in said
    assert "global.slices.OperatorsName (a person's name)" in said
    assert "(key) (a person's name)" in said
    assert "PatientAge (an age over 89)" in said


def test_no_value_is_ever_part_of_what_is_said():
    _, hits = clean_json(json.dumps(SIDECAR))
    said = describe_hits(hits)
    for value in ("DOE", "JANE", "0012345", "1966", "EXAMPLE", "A1", "1.2.3.4", "2018", "4711", "JD",
                  "jdoe",
                  "092", "1531222727"):
        assert value not in said


def test_cleaning_twice_finds_nothing_and_changes_nothing():
    text, _ = clean_json(json.dumps(SIDECAR))
    assert clean_json(text) == (text, ())


def test_a_clean_text_stays_as_it_is_to_the_last_blank():
    text = '{"EchoTime":  1.50e-3 ,\n "n": NaN}'
    assert clean_json(text) == (text, ())


def test_of_two_fields_with_one_name_both_are_judged():
    text, hits = clean_json('{"PatientName": "DOE^JANE", "PatientName": ""}')
    assert hits
    assert json.loads(text) == {"PatientName": ""}


def test_a_dicom_attribute_in_json_is_judged_by_its_tag():
    text, hits = clean_json('{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Q^X"}]}, '
                            '"00180081": {"vr": "DS", "Value": [3]}}')
    assert [hit.kind for hit in hits] == [Kind.NAME]
    assert list(json.loads(text)) == ["00180081"]


@pytest.mark.parametrize("value",
                         ["", None, "anonymous", "ANON", "X", "removed", "n/a", [], {}, "sub-01"])
def test_what_was_removed_before_is_no_finding(value):
    text = json.dumps({"PatientName": value, "PatientID": value, "StudyInstanceUID": value})
    assert clean_json(text) == (text, ())


def test_a_data_dictionary_describes_columns_and_names_nobody():
    text = json.dumps({"participant_id": {"Description": "see jane@x.org"},
                       "name": {"LongName": "Name"},
                       "dob": {"Description": "born 1966-01-01", "Units": "date"},
                       "age": {"Levels": {"95": "very old"}}})
    assert clean_json(text) == (text, ())


def test_authors_of_a_data_set_may_be_named_but_no_patient():
    text = json.dumps({"Authors": ["Doe, Jane", "j.doe@x.org"], "Funding": ["since 2018-01-01"],
                       "PatientName": "DOE^JANE"})
    cleaned, hits = clean_json(text, is_about_dataset=True)
    assert [hit.place for hit in hits] == [("PatientName",)]
    assert json.loads(cleaned)["Authors"] == ["Doe, Jane", "j.doe@x.org"]


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "[" * 100_000, '{"a":' * 300 + "1" + "}" * 300])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(UnreadableJsonError):
        clean_json(text)


DUMP = base64.b64encode(b"DOE^JANE 19660101" * 20).decode()


@pytest.mark.parametrize(("value", "kind"), [
    ('{"PatientName": "Mustermann"}', Kind.NAME), ("[{'PatientName': 'Mustermann'}]", Kind.NAME),
    ("Patient Name: Mustermann; Sex: F", Kind.NAME), ("x=3;DOB=66/01/01", Kind.DATE), (DUMP, Kind.NAME),
    ("x " * 20_000 + "1966-01-31", Kind.DATE)])
def test_a_text_in_a_field_is_looked_into_also_if_it_is_json_or_base64(value, kind):
    text, hits = clean_json(json.dumps({"header": value, "x": 1}))
    assert ("header",) in [hit.place for hit in hits]
    assert kind in [hit.kind for hit in hits]
    assert json.loads(text) == {"x": 1}


@pytest.mark.parametrize("value", [
    '{"EchoTime": 3}', "{x}", "TE=2.98;Time=144052.115;phase=1", "word " * 20_000, "a" * 64,
    base64.b64encode(bytes(range(256))).decode(), "name: value", "0123456789abcdef" * 8])
def test_what_names_nobody_in_a_text_of_a_field_passes(value):
    text = json.dumps({"header": value, "ConsistencyInfo": "N4_VE11C_LATEST_20160120"})
    assert clean_json(text) == (text, ())


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=20)
    | st.sampled_from(["DOE^JANE", "1966-01-01", "a@b.org"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=8) | st.sampled_from(["PatientName", "StudyDate", "age", "x"]), inner,
        max_size=3),
    max_leaves=20)


@given(VALUES)
def test_whatever_is_cleaned_is_clean_and_was_there_before(value):
    text, hits = clean_json(json.dumps(value))
    assert clean_json(text)[1] == ()
    if not hits:
        assert text == json.dumps(value)
    else:
        assert _is_part(json.loads(text), value) or json.loads(text) == {}


def _is_part(part, whole):
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and _is_part(inner, whole[key]) for key, inner in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(_is_part, part, whole))
    return part == whole
