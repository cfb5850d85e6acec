import pytest

from braing3n.data.tables import column_name, read_table
from braing3n.errors import CohortError


def test_bom_crlf_blanks_and_odd_headers_are_tolerated(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_bytes(b"\xef\xbb\xbfparticipant_id\tAge \t Sex\r\nsub-01\t 34\tM\r\n\r\nsub-02\r\n")
    assert read_table(path) == [{"participant_id": "sub-01", "age": "34", "sex": "M"},
                                {"participant_id": "sub-02", "age": "", "sex": ""}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_that_the_header_has_most(delimiter, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(delimiter.join(("subject", "path")) + "\n" + delimiter.join(("a", '"b c"')))
    assert read_table(path) == [{"subject": "a", "path": "b c"}]


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is empty"), (b"PK\x03\x04\xff\xfe\x00", "cannot be read"),
    (b"age,Age \n1,2\n", "twice"), (b"a,b\n1,2,3\n", "line 2"),
])
def test_what_is_no_table_is_refused(content, message, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(CohortError, match=message):
        read_table(tmp_path / "t.csv")


def test_a_column_name_has_one_spelling():
    assert column_name(" Age at MRI (years) ") == "age_at_mri_years"
