import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.people.codebook import open_codebook
from braing3n.data.people.mapping import ColumnMapping, SiteSource, SubjectSource, load_mapping
from braing3n.data.people.participants import persons_of
from braing3n.data.people.rows import join
from braing3n.data.people.tables import read_table
from braing3n.errors import ConfigError


def _load(tmp_path: Path, text: str) -> ColumnMapping:
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    return load_mapping(path)


def test_a_column_is_given_by_its_name_or_with_codes(tmp_path):
    mapping = _load(tmp_path, "subject: PTID\nage_years: AGE\n"
                              "sex: {column: PTGENDER, codes: {1: M, '2.0': F, 9: n/a}}\nsite: SITE\n")
    assert mapping.subject == SubjectSource(column="PTID")
    assert mapping.age_years.column == "AGE"
    assert mapping.sex.codes == {"1": "M", "2": "F", "9": "n/a"}
    assert mapping.site.column == "SITE"
    assert set(mapping.columns()) == {"age_years", "sex"}


def test_the_shipped_example_loads():
    example = Path(__file__).parents[4] / "site_configs" / "mapping.yaml"
    mapping = load_mapping(example)
    assert mapping.subject.id_of("7") == "sub-007"
    assert mapping.site is not None


@pytest.mark.parametrize(("text", "message"), [
    ("age_years: AGE\n", "`subject` is given"),
    ("subject: ''\n", "subject.column"),
    ("subject: {column: id, zeros: -1}\n", "subject.zeros"),
    ("subject: id\nage: AGE\n", "no key `age`"),
    ("subject: id\nsex: {colum: SEX}\n", "did you mean `column`"),
    ("subject: id\nsex: {column: S, codes: {1: X}}\n", "not 'X'"),
    ("subject: id\nsex: {column: S, codes: {1: yes}}\n", "string"),
    ("subject: id\nsex: {column: S, codes: {'1': M, ' 1': F}}\n", "more than blanks"),
    ("subject: id\ndiagnosis: {column: D, codes: {no: HC, yes: AD}}\n", "in quotes"),
    ("subject: id\ndiagnosis: {column: D, codes: {1: patient}}\n", "not 'patient'"),
    ("subject: id\nmodality: {column: D, codes: {1: bold}}\n", "not 'bold'"),
    ("subject: id\nsex: {column: S, unit: months}\n", "age_years alone"),
    ("subject: id\nsex: {column: S, scale: mmse}\n", "severity alone"),
    ("subject: id\nage_years: {column: A, unit: decades}\n", "unit"),
    ("subject: id\nseverity: SCORE\n", "`scale`"),
    ("subject: id\nsite: {}\n", "exactly one of"),
    ("subject: id\nsite: {column: S, id_pattern: '(?P<site>x)'}\n", "exactly one of"),
    ("subject: id\nsite: {sidecar: []}\n", "sidecar"),
    ("subject: id\nsite: {id_pattern: '(x)'}\n", "group"),
    ("subject: id\nsite: {id_pattern: '('}\n", "regular expression"),
    ("subject: {column: id, pattern: '(?P<visit>x)'}\n", "(?P<subject>...)"),
    ("subject: {column: id, pattern: '(?P<subject>(x+)+)'}\n", "repeats no group"),
])
def test_a_mistake_is_told(text, message, tmp_path):
    with pytest.raises(ConfigError) as error:
        _load(tmp_path, text)
    assert message in str(error.value)


@pytest.mark.parametrize(("source", "text", "subject"), [
    ({}, " a ", "a"), ({}, "n/a", ""), ({}, "", ""), ({}, "12.0", "12"),
    ({"prefix": "sub-"}, "01", "sub-01"), ({"prefix": "sub-"}, "sub-01", "sub-01"),
    ({"prefix": "sub-"}, "SUB-03 ", "sub-03"), ({"zeros": 3}, "7", "007"), ({"zeros": 3}, "p7", "p007"),
    ({"zeros": 3}, "12345", "12345"), ({"prefix": "sub-", "zeros": 2}, "1.0", "sub-01"),
    ({"prefix": "sub-", "zeros": 2}, "sub-1", "sub-01"), ({"zeros": 2}, "x", "x"),
    ({"prefix": "sub-", "zeros": 4}, "002_S_295", "sub-002_S_0295"),
])
def test_an_id_is_filled_up(source, text, subject):
    assert SubjectSource(column="id", **source).id_of(text) == subject


@given(st.text(max_size=20), st.sampled_from(["", "sub-", "p"]), st.integers(0, 6))
def test_an_id_that_is_filled_up_stays_so(text, prefix, zeros):
    source = SubjectSource(column="id", prefix=prefix, zeros=zeros)
    once = source.id_of(text)
    assert source.id_of(once) == once


@pytest.mark.parametrize(("pattern", "where", "text", "site"), [
    (r"^(?P<site>\d{3})_S_\d{4}$", "id", "002_S_1234", "002"),
    (r"^IXI\d+-(?P<site>[A-Za-z]+)-\d+", "file", "IXI012-HH-1211-T1.nii.gz", "HH"),
    (r"ses-THP\d{4}(?P<site>[A-Z]+)\d", "session", "ses-THP0001CCF1", "CCF"),
    (r"(?P<site>[A-Z]+)", "id", "123", None), (r"x(?P<site>y?)", "id", "xz", None),
    (r"(?P<site>x)", "id", "x" * 101, None),
])
def test_a_site_is_found_by_a_pattern(pattern, where, text, site):
    names = {"id": "", "session": None, "file": ""} | {where: text}
    source = SiteSource(**{f"{where}_pattern": pattern})
    assert source.matched(names["id"], names["session"], names["file"]) == site


@pytest.mark.parametrize("pattern", [
    r"(?P<site>(a+)+)$", r"(?P<site>a|a)*$", r"(?P<site>.*.*.*.*)!", r"(?P<site>(?:a{1,9}){9,})b",
    "(?P<site>" + "a?" * 30 + "a" * 30 + ")", "(?P<site>" + "x" * 300 + ")",
    r"(?P<site>a{99999999999})",
])
def test_a_pattern_that_could_run_for_hours_is_refused(pattern, tmp_path):
    with pytest.raises(ValueError, match="site"):
        SiteSource(id_pattern=pattern)


@pytest.mark.parametrize("pattern", [r"(?P<site>\w*\w*\w*)!", r"(?P<site>a?a?\w+.*\S*)!",
                                     r"(?P<site>.+?.+?.+?)!"])
def test_the_worst_pattern_that_is_taken_ends_soon(pattern):
    began = time.perf_counter()
    assert SiteSource(id_pattern=pattern).matched("a" * 100, None, "") is None
    assert time.perf_counter() - began < 20  # 0.1 s alone; without bounds, for ever


def test_only_codes_make_one_site_of_two_spellings():
    plain = SiteSource(column="site")
    assert [plain.named(text) for text in ("NYU", "NYU ", "nyu", "n/a")] == ["NYU", "NYU ", "nyu", None]
    coded = SiteSource(column="site", codes={"nyu": "New York", "99": "n/a"})
    assert [coded.named(text) for text in ("NYU", "NYU ", "99.0", "B")] == ["New York", "New York",
                                                                           None, "B"]


@pytest.mark.parametrize(("text", "subject", "visit"), [
    ("GBM-007_11", "GBM-007", "11"), (" GBM-007_21 ", "GBM-007", "21"), ("GBM-007", "GBM-007", None),
    ("GBM-007_x", "", None), ("n/a", "", None), ("GBM-" + "0" * 200, "", None),
])
def test_an_id_of_a_scan_is_taken_apart_into_person_and_visit(text, subject, visit):
    source = SubjectSource(column="id", pattern="^(?P<subject>GBM-[0-9]+)(_(?P<visit>[0-9]+))?$")
    assert source.id_of(text) == subject
    assert source.visit_of(text) == visit


def test_prefix_and_zeros_come_after_the_pattern():
    source = SubjectSource(column="id", pattern="^(?P<subject>[0-9]+)", prefix="sub-", zeros=3)
    assert source.id_of("7_2") == "sub-007"
    assert source.visit_of("7_2") is None


def test_what_is_said_at_two_visits_in_one_id_is_joined_by_visit(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("ID,Age\nGBM-1_11,50\nGBM-1_21,51\n")
    pattern = "^(?P<subject>[A-Z0-9-]+)_(?P<visit>.+)"
    mapping = _load(tmp_path, f"subject: {{column: ID, pattern: '{pattern}'}}\n")
    table = read_table(path)
    people = join(persons_of(table, open_codebook(table, mapping)))
    assert people.contradictory == {}
    assert people.said_of("GBM-1", "ses-21")["age_years"].said == "51"
