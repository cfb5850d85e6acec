import codecs
import csv
import io
import zipfile
from datetime import date, datetime

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.findings import RefusedTableError
from braing3n.data.people import tables
from braing3n.data.people.tables import column_name, read_table
from braing3n.errors import CohortError


def _write(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _remarks(table):
    return {remark.rule.code: remark.found for remark in table.remarks}


def _workbook(tmp_path, rows, **sheets):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for title, inner in sheets.items():
        sheet = book.create_sheet(title)
        for row in inner:
            sheet.append(row)
    path = tmp_path / "t.xlsx"
    book.save(path)
    return path


def test_bom_crlf_and_odd_headers_are_handled_and_told(tmp_path):
    table = read_table(_write(tmp_path, b"\xef\xbb\xbfparticipant_id\tAge \t Sex\r\nsub-01\t 34\tM\r\n"
                                        b"\r\nsub-02\r\n", "t.tsv"))
    assert table.header == ("participant_id", "Age ", " Sex")
    assert table.columns == ("participant_id", "age", "sex")
    assert table.rows == ({"participant_id": "sub-01", "age": " 34", "sex": "M"},
                          {"participant_id": "sub-02", "age": "", "sex": ""})
    assert table.lines == (2, 4)
    assert _remarks(table) == {"table-bom": "a byte-order mark of UTF-8", "table-line-ends": "CRLF",
                               "table-cells-few": "line 4"}


def test_a_plain_table_has_no_remarks(tmp_path):
    assert read_table(_write(tmp_path, "a\tb\n1\t2\n", "t.tsv")).remarks == ()


@pytest.mark.parametrize("ids", ["007", "1.0", " 7", "1e3", "0x1F", "TRUE", "2020-01-01"])
def test_cells_keep_what_they_say(ids, tmp_path):
    assert read_table(_write(tmp_path, f"id\tx\n{ids}\t1\n", "t.tsv")).rows[0]["id"] == ids


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_separator_is_found_from_the_content(delimiter, tmp_path):
    text = delimiter.join(("subject", "path")) + "\n" + delimiter.join(("a", '"b c"'))
    assert read_table(_write(tmp_path, text)).rows == ({"subject": "a", "path": "b c"},)


@pytest.mark.parametrize(("text", "columns"), [
    ('ID,"SEX_ID (1=m; 2=f; 3=?)",AGE\n1,1,30\n', ("id", "sex_id_1_m_2_f_3", "age")),
    ("id;age, years;sex\n1;35,8;M\n2;20,1;F\n", ("id", "age_years", "sex")),
    ("id\tnotes, all, of, them\n1\tx\n", ("id", "notes_all_of_them")),
    ('id, "age, years", sex\n1, "30", M\n', ("id", "age_years", "sex")),
    ("sep=;\nid;a,b\n1;2\n", ("id", "a_b")),
])
def test_a_separator_inside_a_name_separates_nothing(text, columns, tmp_path):
    assert read_table(_write(tmp_path, text)).columns == columns


def test_a_tsv_with_commas_is_told(tmp_path):
    table = read_table(_write(tmp_path, "id,age\n1,2\n", "participants.tsv"))
    assert table.columns == ("id", "age")
    assert _remarks(table) == {"table-delimiter": "commas"}


@pytest.mark.parametrize(("encoding", "mark", "code"), [
    ("utf-8", b"", None), ("utf-8", codecs.BOM_UTF8, "table-bom"), ("cp1252", b"", "table-encoding"),
    ("utf-16-le", codecs.BOM_UTF16_LE, "table-encoding"),
    ("utf-16-be", codecs.BOM_UTF16_BE, "table-encoding"),
    ("utf-32-le", codecs.BOM_UTF32_LE, "table-encoding"),
])
def test_encodings_are_told_by_the_bytes_and_never_silently(encoding, mark, code, tmp_path):
    table = read_table(_write(tmp_path, mark + "id,clinic\n1,Zürich\n".encode(encoding)))
    assert table.rows == ({"id": "1", "clinic": "Zürich"},)
    assert list(_remarks(table)) == ([code] if code else [])


def test_quoted_cells_may_hold_line_ends_and_separators(tmp_path):
    table = read_table(_write(tmp_path, 'id,note\r1,"a,\r\n""b"""\r2,\u2028x\r'))
    assert [row["note"] for row in table.rows] == ['a,\r\n"b"', "\u2028x"]
    assert table.lines == (2, 4)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "empty"), (b" \n\t\n", "empty"), (b"a,b\n", "without a row"),
    (b"a\0b,c\n1,2\n", "0x00"), ("a,b\n1,2\n".encode("utf-16-le"), "0x00"),
    (b"\xff\xfea\x00\x00", "UTF-16"), (b"\x1f\x8b\x08\x00", "gzip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1", "old or protected Excel"), (b"PK\x03\x04junk", "no XLSX"),
    (b"<html>", "web page"), (b"/annex/objects/x", "annex"),
    (b"age,Age \n1,2\n", "columns named alike: 1, 2"), (b"a,b\n1,2,3\n", "3 cells in line 2"),
    (b'a,b\n1,"2\n', "line 2"), (b'a,b\n1,"2"x\n', "line 2"),
    (b"a,b\n1," + b"x" * 200_000 + b"\n", "field limit"), (b"a,b\n" + b"1," * 2_000_000, "line 2"),
])
def test_what_is_no_table_is_refused(content, message, tmp_path):
    with pytest.raises(RefusedTableError, match=message):
        read_table(_write(tmp_path, content))


def test_a_missing_file_a_folder_and_too_much_are_refused(tmp_path, monkeypatch):
    with pytest.raises(CohortError, match="no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(CohortError, match="folder"):
        read_table(tmp_path)
    path = _write(tmp_path, "a,b\n" + "1,2\n" * 9)
    monkeypatch.setattr(tables, "MAX_CELLS", 12)
    with pytest.raises(CohortError, match="12 cells"):
        read_table(path)
    monkeypatch.setattr(tables, "MAX_BYTES", 20)
    with pytest.raises(CohortError, match="40 bytes"):
        read_table(path)


def test_nameless_columns_are_told_unless_they_count_the_rows(tmp_path):
    assert read_table(_write(tmp_path, ",id\n0,a\n1,b\n")).remarks == ()
    table = read_table(_write(tmp_path, "id,,age\na,x,1\nb,,2\n"))
    assert _remarks(table) == {"table-column-nameless": "1 of 3 columns"}
    assert table.rows[0] == {"id": "a", "age": "1"}


def test_a_workbook_says_what_its_cells_show(tmp_path):
    path = _workbook(tmp_path, [
        ["id", "age", "when", "at", "flag", "note"],
        [1.0, 35.5, date(2020, 1, 2), datetime(2020, 1, 2, 3, 4), True, "007"],
        [2, None, None, None, "n/a", " x "]])
    table = read_table(path)
    assert [list(row.values()) for row in table.rows] == [
        ["1", "35.5", "2020-01-02", "2020-01-02T03:04:00", "TRUE", "007"],
        ["2", "", "", "", "n/a", " x "]]
    assert table.lines == (2, 3)
    assert table.remarks == ()


def test_zeros_that_a_format_adds_are_part_of_an_id(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["id", "age"])
    book.active.append([7, 30])
    book.active["A2"].number_format = "000"
    book.save(tmp_path / "t.xlsx")
    assert read_table(tmp_path / "t.xlsx").rows[0]["id"] == "007"


def test_a_workbook_under_another_name_is_read_by_its_content(tmp_path):
    path = _workbook(tmp_path, [["id"], ["a"]]).rename(tmp_path / "participants.csv")
    assert read_table(path).rows == ({"id": "a"},)


def test_of_several_sheets_the_first_visible_is_read_and_named(tmp_path):
    path = _workbook(tmp_path, [["id"], ["a"]], more=[["x"], ["b"]])
    assert _remarks(read_table(path)) == {"table-sheet": "2 sheets; 'Sheet' is read"}
    book = openpyxl.load_workbook(path)
    book["Sheet"].sheet_state = "hidden"
    book.save(path)
    assert read_table(path).rows == ({"x": "b"},)


def test_a_merged_title_above_the_header_is_refused_with_advice(tmp_path):
    path = _workbook(tmp_path, [["Demographics"], ["id", "age", "sex"], ["a", 1, "M"]])
    with pytest.raises(RefusedTableError, match="line of names is further down"):
        read_table(path)


def test_a_formula_that_was_never_computed_is_refused(tmp_path):
    with pytest.raises(RefusedTableError, match="formula in row 2"):
        read_table(_workbook(tmp_path, [["id", "age"], ["a", "=1+1"]]))


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = _workbook(tmp_path, [["id"], ["a"]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/bomb.xml", b" " * 3_000_000)
    monkeypatch.setattr(tables, "MAX_BYTES", 2_000_000)
    with pytest.raises(RefusedTableError, match="when unpacked"):
        read_table(path)


def test_a_column_name_has_one_spelling():
    assert column_name(" Age at MRI (years) ") == "age_at_mri_years"
    assert column_name("Größe") == "grösse"
    assert column_name(" % ") == "%"


@given(st.sampled_from([b"", b"id\tage\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"PK\x03\x04", b'"']),
       st.binary(max_size=300))
def test_any_bytes_are_a_table_or_a_refusal(tmp_path_factory, start, rest):
    path = tmp_path_factory.getbasetemp() / "any.tsv"
    path.write_bytes(start + rest)
    try:
        table = read_table(path)
    except RefusedTableError as error:
        assert error.finding.rule.code in ("table-unreadable", "table-columns", "table-cells")
    else:
        assert len(table.rows) == len(table.lines) > 0
        assert all(tuple(row) == table.columns for row in table.rows)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The parts of a workbook, unpacked."""
    path = _workbook(tmp_path_factory.mktemp("parts"),
                     [["id", "age"], ["a", 1.5], ["b", date(2020, 1, 1)]], more=[["x"]])
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@given(place=st.floats(0, 1, exclude_max=True), name=st.integers(0, 50),
       bytes_=st.binary(min_size=1, max_size=6), removes=st.booleans())
def test_a_damaged_workbook_is_a_table_or_a_refusal(tmp_path_factory, parts, place, name, bytes_,
                                                    removes):
    damaged = dict(parts)
    chosen = sorted(damaged)[name % len(damaged)]
    start = int(place * len(damaged[chosen]))
    damaged[chosen] = (damaged[chosen][:start] + bytes_
                       + damaged[chosen][start + (20 if removes else len(bytes_)):])
    path = tmp_path_factory.getbasetemp() / "damaged.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in damaged.items():
            archive.writestr(part, content)
    try:
        read_table(path)
    except RefusedTableError as error:
        assert error.finding.rule.code in ("table-unreadable", "table-columns", "table-cells")


# No control characters, which are no text, nor line ends that universal newlines would change.
_CELLS = st.text(st.characters(blacklist_categories=("Cc", "Cs"), whitelist_characters="\n\t"),
                 max_size=12)
_ROWS = st.lists(st.lists(_CELLS, min_size=3, max_size=3).filter(lambda row: "".join(row).strip()),
                 min_size=1, max_size=8)


@given(rows=_ROWS, separator=st.sampled_from("\t,;"), end=st.sampled_from(["\n", "\r\n", "\r"]),
       encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_a_written_table_is_read_back_cell_for_cell(tmp_path_factory, rows, separator, end, encoding):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
        [["id", "a b", "c"], *rows])
    path = tmp_path_factory.getbasetemp() / "round.txt"
    path.write_bytes(text.getvalue().encode(encoding))
    assert [list(row.values()) for row in read_table(path).rows] == rows


def test_real_tables_are_read_whole(test_data):
    counts = {"IXI_demographics_noDOB.csv": (619, 10), "UCSF-PDGM-metadata_v2.csv": (501, 16),
              "UPENN-GBM_clinical_info_v1.0.csv": (671, 10), "ds000030_participants.tsv": (272, 16),
              "brainscape_AOMIC_participants.tsv": (928, 7), "ds002748_participants.tsv": (72, 20)}
    for name, (num_rows, num_columns) in counts.items():
        table = read_table(test_data / "phenotypic" / name)
        assert (len(table.rows), len(table.columns)) == (num_rows, num_columns)
        assert {remark.rule.code for remark in table.remarks} <= {"table-line-ends"}
