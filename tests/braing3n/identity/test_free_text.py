import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.identity.content import Hit, Kind, describe_hits
from braing3n.identity.free_text import text_hits
from braing3n.identity.long_texts import MAX_LONG


@pytest.mark.parametrize("text", [
    "PatientName=Mustermann", "EchoTime=3 PatientName=Mustermann", "PatientName = 'Mustermann'",
    "<PatientName>Mustermann</PatientName>", "<x:PatientName a='1'>\n Mustermann</x:PatientName>",
    '<field name="PatientName" value="Mustermann"/>', "{'PatientName': 'Mustermann'}",
    '<DicomAttribute keyword="PatientName"><PersonName><FamilyName>Mustermann</FamilyName>',
    "<td>PatientName</td><td>Mustermann</td>", "<b>PatientName:</b> Mustermann",
    '{"PatientName": "Mustermann", "EchoTime": ', ". PatientName         :   Mustermann",
    "# PatientName: Mustermann", "x, PatientName: Mustermann"])
def test_keys_and_values_are_found_in_many_layouts(text):
    assert Hit(("PatientName",), Kind.NAME) in text_hits(text)


@pytest.mark.parametrize(("text", "said"), [
    ("Patient's Name: Quandt", "Patient's Name (a person's name)"),
    ("(0010,0010) PN [Quandt]  # 8, 1", "(0010,0010) (a person's name)"),
    ("(0010, 0020) Patient ID   LO: '0012345'", "(0010, 0020) (a record number)"),
    ("DOB: 31.1.66; MRN: A17", "DOB (a full date), MRN (a record number), a full date"),
    ("EchoTime: 3\nnote: MRN 0012345", "a record number"),
    ("PatientAge=093Y", "PatientAge (an age over 89)"),
])
def test_what_is_said_is_where_and_of_which_kind(text, said):
    assert describe_hits(text_hits(text)) == said


@pytest.mark.parametrize("text", [
    "", "name: x", "DOB: n/a, sex: F", "Date of birth: not collected", "PatientName: anonymous",
    "EchoTime: 0.3; TE=2.98;Time=144052.115;phase=1", "uid=1000(jdoe)", "Manufacturer: Siemens",
    "http://x.org/?PatientName=", "a = b : c > d",
    '<AFNI_atr ni_type="float" atr_name="BRICK_STATS">0 1 2 3</AFNI_atr>'])
def test_what_names_nobody_passes(text):
    assert text_hits(text) == ()


def test_beyond_its_limit_a_text_counts_as_one_that_may_name_a_person():
    assert text_hits("x" * (MAX_LONG + 1)) == (Hit((), Kind.OPAQUE),)


@given(st.text(alphabet="aN: =<>\"'/[{,;.#\n(10)", max_size=300), st.sampled_from([1, 200]))
def test_no_text_takes_long(text, times):
    started = time.process_time()
    text_hits(text * times)
    assert time.process_time() - started < 0.3 + 2e-5 * len(text) * times
