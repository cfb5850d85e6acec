import json
import os
import re
import runpy
import sys

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.findings import Severity
from braing3n.data.people.mapping import ColumnMapping
from braing3n.preflight.tables import cohort_findings, listing_findings, table_findings


def _write(folder, text, name="participants.tsv"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _found(findings):
    """What was found by code; that no rule is broken twice is part of every test."""
    codes = [one.rule.code for one in findings]
    assert len(codes) == len(set(codes))
    return {one.rule.code: one.found for one in findings}


def _column(tmp_path, name, cells):
    rows = "".join(f"sub-{number:02d}\t{cell}\n" for number, cell in enumerate(cells, start=1))
    return _found(table_findings(_write(tmp_path, f"participant_id\t{name}\n{rows}")))


def test_a_sound_table_has_no_findings(tmp_path):
    path = _write(tmp_path, "participant_id\tage\tsex\tgroup\nsub-01\t34\tM\tcontrol\n"
                            "sub-02\tn/a\tn/a\tAD\nsub-03\t89+\tF\tn/a\n")
    assert table_findings(path) == []
    assert cohort_findings(tmp_path, {"sub-01", "sub-02", "sub-03"}) == []


@pytest.mark.parametrize(("text", "code"), [
    ("", "table-unreadable"), (b"a\tb\0\n1\t2\n", "table-unreadable"), ("participant_id\tage\n",
                                                                     "table-unreadable"),
    ("participant_id\tage\tAge\nsub-01\t1\t1\n", "table-columns"),
    ("participant_id\tage\nsub-01\t1\t2\n", "table-cells"),
])
def test_a_table_that_cannot_be_read_is_one_error_and_told_once(text, code, tmp_path):
    path = _write(tmp_path, text)
    findings = table_findings(path)
    assert [(one.rule.code, one.rule.severity, one.path) for one in findings] == [
        (code, Severity.ERROR, path)]
    assert cohort_findings(tmp_path, {"sub-01"}) == []


def test_spellings_of_missing_are_counted(tmp_path):
    path = _write(tmp_path, "participant_id\tage\tsex\tnote\nsub-01\tn/a\tM\tnone\nsub-02\tNA\tNA\t-\n"
                            "sub-03\t-999\t\tunknown\nsub-04\t-9\tpending\tNot Available\n")
    assert _found(table_findings(path)) == {
        "missing-spelling": "NA (2), -999 (1), -9 (1), (empty) (1), pending (1), Not Available (1)"}


def test_a_negative_measurement_is_not_missing(tmp_path):
    assert _column(tmp_path, "laterality", ["100", "-38", "-9", "-99"]) == {}
    assert _column(tmp_path, "weight", ["100", "-9", "80"]) == {"missing-spelling": "-9 (1)"}


def test_an_empty_cell_is_a_spelling_of_missing_in_a_tsv_alone(tmp_path):
    text = "subject,age\na,\nb,3\n"
    assert _found(table_findings(_write(tmp_path, text, "t.csv"))) == {}
    assert _column(tmp_path, "age", ["", "3"]) == {"missing-spelling": "(empty) (1)"}


def test_ages_that_are_not_understood_are_listed_and_the_oldest_never_shown(tmp_path):
    found = _column(tmp_path, "age", ["89+", "95", "045Y", "540", "-3", "1520", "22-25", "22-25",
                                      "97+"])
    assert found == {"age-over-89": "2 ages (lines 3, 10)",
                     "age-unclear": "'22-25' (2 rows), '540' (line 5), '-3' (line 6), '1520' (line 7)"}


def test_an_age_of_0_is_told_unless_others_are_as_young(tmp_path):
    assert _column(tmp_path, "age", ["0", "0.5", "1"]) == {}
    assert _column(tmp_path, "age", ["0", "34"]) == {
        "age-unclear": "0 beside no other age below 2, read as a newborn's (line 2)"}


def test_sexes_and_other_values_that_are_not_understood_are_listed(tmp_path):
    path = _write(tmp_path, "participant_id\tsex\tgroup\tmmse\tsite\nsub-01\t1\tcase\t31\tA\n"
                            "sub-02\t2\tcase\t30\tA\nsub-03\tU\tAD\t2\tA\n")
    assert _found(table_findings(path)) == {
        "sex-unclear": "'1' (line 2), '2' (line 3), 'U' (line 4)",
        "value-unclear": "diagnosis 'case' (2 rows), severity '31' (line 2)"}


def test_a_dictionary_or_a_mapping_makes_codes_understood(tmp_path):
    path = _write(tmp_path, "participant_id\tsex\nsub-01\t1\nsub-02\t2\n")
    mapping = ColumnMapping.model_validate(
        {"subject": "participant_id", "sex": {"column": "sex", "codes": {"1": "M", "2": "F"}}})
    assert "sex-unclear" in _found(table_findings(path))
    assert table_findings(path, mapping) == []
    (tmp_path / "participants.json").write_text('{"sex": {"Levels": {"1": "male", "2": "female"}}}')
    assert table_findings(path) == []


def test_ten_thousand_rows_make_a_handful_of_findings(tmp_path):
    rows = "".join(f"s{n}\t{n + 200}\t{n % 7 + 3}\n" for n in range(10_000))
    findings = table_findings(_write(tmp_path, "participant_id\tage\tsex\n" + rows))
    assert set(_found(findings)) == {"age-unclear", "sex-unclear"}
    assert all(len(one.found) < 300 for one in findings)
    assert re.search(r" and 9\d{3} more$", findings[0].found)


def test_sites_that_differ_in_blanks_capitals_and_marks_are_proposed_for_a_merge(tmp_path):
    found = _column(tmp_path, "site", ["NYU", "NYU ", "nyu", "New York Univ.", "35343.0", "35343",
                                       "Site 1", "site_1", "Site 11", "1.5", "15"])
    assert found["site-spelling"] == (
        "'35343' = '35343.0', 'NYU' = 'NYU ' = 'nyu', 'Site 1' = 'site_1'")


def test_groups_of_one_are_told_without_the_sizes_of_others(tmp_path):
    path = _write(tmp_path, "participant_id\tsite\tgroup\n" + "".join(
        f"sub-{n}\t{'A' if n < 8 else 'B' if n < 11 else 'C'}\t{'AD' if n < 4 else 'control'}\n"
        for n in range(1, 12)))
    assert _found(table_findings(path)) == {
        "cells-small": "site 'C': a single subject, site 'B': class 'HC' alone"}


def test_in_a_table_of_four_everything_is_small(tmp_path):
    assert _column(tmp_path, "site", "ABCD") == {}
    assert set(_column(tmp_path, "site", "ABCDD")) == {"cells-small"}
    assert _column(tmp_path, "site", "AAAAA") == {}


def test_two_visits_of_one_person_are_one_subject(tmp_path):
    path = _write(tmp_path, "subject,site\n" + "a,X\na,X\nb,Y\nc,Y\nd,Y\ne,Y\n", "t.csv")
    assert _found(table_findings(path)) == {"cells-small": "site 'X': a single subject"}


@pytest.mark.parametrize(("name", "text"), [
    ("sub-01_task-rest_events.tsv", "onset\tduration\tage\n1\t2\t540\n"),
    ("task-rest_events.tsv", "onset\tduration\n"), ("sub-01_desc-aseg_dseg.tsv", "index\tname\n1\tx\n"),
    ("sub-01_recording-x_physio.tsv", "1\t1\n2\t3\n"), ("sub-01_ses-1_task-x_channels.tsv", ""),
    ("sub-01_scans.tsv", "filename\tacq_time\nanat/x.nii\t1874-04-12T01:43:17\n"),
    ("dseg.tsv", "index\tname\n1\tunknown\n"), ("samples.tsv", "sample_id\tsample_type\ns\ttissue\n"),
])
def test_tables_that_are_not_of_people_have_no_findings(name, text, tmp_path):
    assert table_findings(_write(tmp_path, text, name)) == []


def test_a_table_of_sessions_is_one_of_people(tmp_path):
    path = _write(tmp_path, "session_id\tage\nses-1\t540\n", "sub-01/sub-01_sessions.tsv")
    assert set(_found(table_findings(path))) == {"age-unclear"}


def test_a_workbook_is_looked_at_as_well(tmp_path):
    book = openpyxl.Workbook()
    for row in (["Subject", "Age"], ["a", 95], ["b", "old"]):
        book.active.append(row)
    book.create_sheet("notes")
    book.save(tmp_path / "people.xlsx")
    assert _found(table_findings(tmp_path / "people.xlsx")) == {
        "table-sheet": "2 sheets; 'Sheet' is read", "table-column-name": "'Subject', 'Age'",
        "age-over-89": "one age (line 2)", "age-unclear": "a text (line 3)"}


def test_a_missing_table_is_told_with_what_is_there_instead(tmp_path):
    (tmp_path / "sub-01").mkdir()
    assert _found(cohort_findings(tmp_path, {"sub-01"})) == {"table-missing": "no such file"}
    _write(tmp_path, "participant_id\nsub-01\n", "Participants.csv")
    assert _found(cohort_findings(tmp_path, {"sub-01"})) == {
        "table-missing": "Participants.csv, which is not read"}


def test_rows_and_folders_are_compared_both_ways(tmp_path):
    _write(tmp_path, "participant_id\nsub-01\nsub-09\nn/a\nSUB-2 \n")
    findings = cohort_findings(tmp_path, {"sub-01", "sub-02", "sub-04"})
    assert _found(findings) == {"id-mismatch": "'SUB-2 ' -> sub-02", "row-without-scan": "sub-09",
                                "scan-without-row": "sub-04", "row-without-id": "line 4"}


def test_a_long_list_is_cut(tmp_path):
    _write(tmp_path, "participant_id\n" + "".join(f"x{n:03d}\n" for n in range(100)))
    assert _found(cohort_findings(tmp_path, {"sub-x"}))["row-without-scan"] == (
        "x000, x001, x002, x003, x004, x005, x006, x007 and 92 more")


def test_rows_that_contradict_each_other_are_named_with_their_lines(tmp_path):
    _write(tmp_path, "participant_id\tage\tsex\nsub-01\t30\tM\nsub-01\t30.0\tmale\nsub-02\t30\tM\n"
                     "sub-02\t31\tM\n")
    assert _found(cohort_findings(tmp_path, {"sub-01", "sub-02"})) == {
        "id-twice": "sub-02 (lines 4, 5)", "row-twice": "lines 2, 3"}


def test_a_table_without_ids_or_with_another_mapping_lacks_columns(tmp_path):
    path = _write(tmp_path, "code\tage\n1\t30\n")
    assert _found(cohort_findings(tmp_path, {"sub-01"})) == {
        "table-columns": "no column of ids among code, age"}
    mapping = ColumnMapping.model_validate(
        {"subject": {"column": "CODE", "prefix": "sub-", "zeros": 2}})
    assert cohort_findings(tmp_path, {"sub-01"}, mapping) == []
    assert cohort_findings(path, {"sub-01"}, mapping) == []
    wrong = ColumnMapping.model_validate({"subject": "ID"})
    assert _found(cohort_findings(tmp_path, {"sub-01"}, wrong)) == {"table-columns": "`subject: ID`"}


def test_a_table_without_a_header_is_told_without_its_first_row(tmp_path):
    _write(tmp_path, "sub-01\t34\tM\nsub-02\t35\tF\n")
    assert _found(cohort_findings(tmp_path, {"sub-01", "sub-02"})) == {
        "table-columns": "no line of names; the first is of a subject"}


def test_two_words_for_one_diagnosis_are_one_class(tmp_path):
    assert _column(tmp_path, "group", ["HC", "healthy", "AD", "AD", "AD"]) == {}
    assert set(_column(tmp_path, "group", ["HC", "MCI", "AD", "AD", "AD"])) == {"cells-small"}


@given(st.text(max_size=200))
def test_any_text_has_findings_of_which_none_comes_twice(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    path = _write(folder, "participant_id\tage\tsex\tsite\tgroup\n" + text)
    _found(table_findings(path))
    _found(cohort_findings(folder, {"sub-01"}))


_DEFECTS = {
    "D51": {"row-without-scan": "ERROR", "scan-without-row": "ERROR"},
    "D53": {"id-mismatch": "ERROR"}, "D54": {"table-bom": "INFO"}, "D55": {"table-line-ends": "INFO"},
    "D59": {"table-column-name": "INFO"},
    "D60": {"missing-spelling": "WARN", "sex-unclear": "WARN"},
    "D61": {"age-over-89": "PRIVACY", "age-unclear": "WARN"}, "D63": {"site-spelling": "WARN"},
    "D66": {"cells-small": "WARN", "value-unclear": "WARN"},
}


@pytest.fixture(scope="module")
def defects(test_data, tmp_path_factory):
    """A folder with one small case for each known defect."""
    out = tmp_path_factory.mktemp("defects") / "out"
    good = next((test_data / "nifti/minicohort/site-nsk").glob("sub-*/anat/*.nii.gz"))
    arguments, sys.argv = sys.argv, ["make_defects.py", str(good), str(out)]
    try:
        runpy.run_path(str(test_data / "defects/make_defects.py"))
    finally:
        sys.argv = arguments
    return out


@pytest.mark.parametrize("case", sorted(_DEFECTS))
def test_known_defects_of_tables_are_found_and_nothing_else(case, defects):
    folder = defects / case
    scanned = {path.name for path in folder.glob("sub-*")}
    findings = table_findings(folder / "participants.tsv") + cohort_findings(folder, scanned)
    assert {one.rule.code: one.rule.severity.value for one in findings} == _DEFECTS[case]


@pytest.mark.parametrize("site", ["site-nsk", "site-hh"])
def test_the_tables_of_the_real_mini_cohort_are_sound(site, test_data):
    folder = test_data / "nifti/minicohort" / site
    scanned = {path.name for path in folder.glob("sub-*")}
    assert table_findings(folder / "participants.tsv") + cohort_findings(folder, scanned) == []


def test_real_tables_of_other_cohorts_have_no_errors(test_data):
    paths = [*(test_data / "phenotypic").glob("*.?sv"), *(test_data / "bids").rglob("*.tsv")]
    assert len(paths) > 25
    for path in paths:
        found = table_findings(path)
        assert not [one for one in found if one.rule.severity is Severity.ERROR]
        _found(found)


def test_what_may_be_a_name_in_a_wrong_column_is_told_by_its_line_alone(tmp_path):
    path = _write(tmp_path, "participant_id\tage\tsex\tdiagnosis\n"
                            "sub-01\tMustermann\tQuandt\tXaver Quandt\n"
                            "sub-02\t12.04.58\tX\tF32.0\nsub-03\t1520\tM\tCTR\n")
    found = _found(table_findings(path))
    assert found["age-unclear"] == "a text (2 rows), '1520' (line 4)"
    assert found["sex-unclear"] == "a text (line 2), 'X' (line 3)"
    assert "Quandt" not in found["value-unclear"]


def test_ids_without_a_digit_are_told_by_their_line_alone(tmp_path):
    _write(tmp_path, "participant_id\tage\nmuster_xaver\t30\nsub-7\t31\n")
    assert _found(cohort_findings(tmp_path, {"sub-01"}))["row-without-scan"] == (
        "an id without a digit (line 2), sub-7")


def test_an_id_that_is_another_in_capitals_or_blanks_is_a_second_row(tmp_path):
    _write(tmp_path, "participant_id\tage\nsub-01\t30\nSUB-01 \t30\n")
    assert _found(cohort_findings(tmp_path, {"sub-01"})) == {"id-twice": "'SUB-01 ' beside sub-01"}


def test_a_table_whose_place_is_taken_by_a_folder_or_a_pipe_is_told_as_that(tmp_path):
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "participants.tsv").mkdir()
    assert _found(cohort_findings(tmp_path, {"sub-01"})) == {"table-missing": "a folder of this name"}
    (tmp_path / "participants.tsv").rmdir()
    os.mkfifo(tmp_path / "participants.tsv")
    assert _found(cohort_findings(tmp_path, {"sub-01"})) == {
        "table-missing": "a pipe or a device of this name"}


def test_a_subject_with_other_images_alone_is_a_warning_and_one_without_any_an_error(tmp_path):
    _write(tmp_path, "participant_id\tage\nsub-01\t30\nsub-02\t31\nsub-03\t32\n")
    findings = cohort_findings(tmp_path, {"sub-01"}, imaged={"sub-01", "sub-02"})
    assert [(one.rule.code, one.rule.severity, one.found) for one in findings] == [
        ("row-without-scan", Severity.ERROR, "sub-03"),
        ("row-without-anatomy", Severity.WARN, "sub-02")]


@pytest.mark.parametrize(("levels", "found"), [
    ({"1": "male", "2": "male"}, "1 and 2 of sex"), ({"0": "Female ", "1": "female"}, "0 and 1 of sex"),
    ({"1": "male", "2": "female"}, None), ({"M": "male", "1": "male", "2": "female"}, None),
    ({"1": "male", "2": "female", "-8": "missing", "-9": "missing"}, None),
])
def test_a_dictionary_in_which_two_numbers_mean_the_same_is_told(levels, found, tmp_path):
    path = _write(tmp_path, "participant_id\tsex\n" + "".join(
        f"sub-0{number}\t{1 + number % 2}\n" for number in range(1, 7)))
    _write(tmp_path, json.dumps({"sex": {"Levels": levels}}), "participants.json")
    assert _found(table_findings(path)).get("codes-alike") == found
    mapping = ColumnMapping.model_validate({"subject": "participant_id", "sex": {
        "column": "sex", "codes": {"1": "M", "2": "M"}}})
    assert "codes-alike" not in _found(table_findings(path, mapping))


def test_a_scan_that_is_listed_for_two_subjects_is_an_error_and_twice_for_one_a_warning(tmp_path):
    (tmp_path / "link.nii").symlink_to("a.nii")
    (tmp_path / "loop.nii").symlink_to("loop.nii")
    table = _write(tmp_path, "subject,path\ns1,a.nii\ns2,link.nii\ns3,b.nii\ns3,./b.nii\ns4,c.nii\n"
                             "s5,loop.nii\n", "scans.csv")
    assert [(one.rule.code, one.path.name, one.found) for one in listing_findings(table)] == [
        ("scan-of-two", "a.nii", "in lines 2, 3"), ("scan-twice", "b.nii", "in lines 4, 5")]
