import json

import pytest

from braing3n.data.people.codebook import open_codebook
from braing3n.data.people.covariates import understand
from braing3n.data.people.mapping import ColumnMapping
from braing3n.data.people.tables import read_table
from braing3n.errors import ConfigError


def _table(tmp_path, text, dictionary=None, name="participants.tsv"):
    (tmp_path / name).write_text(text)
    if dictionary is not None:
        (tmp_path / name).with_suffix(".json").write_text(json.dumps(dictionary))
    return read_table(tmp_path / name)


def _understood(table, mapping=None, **options):
    book = open_codebook(table, mapping, **options)
    return [understand(book.cells(row), None) for row in table.rows]


def _mapping(**sources):
    return ColumnMapping.model_validate({"subject": "id", **sources})


@pytest.mark.parametrize(("header", "years"), [
    ("age", 24.0), ("Age (years)", 24.0), ("AGE_AT_SCAN", 24.0), ("age_at_mri", 24.0), ("age_y", 24.0),
    ("age_months", 2.0), ("Age (months)", 2.0), ("Age in months", 2.0), ("age_mo", 2.0),
    ("age_days", 24 / 365.25), ("Age [weeks]", 24 * 7 / 365.25), ("Alter", 24.0),
    ("age_group", None), ("age_of_onset", None), ("age_at_death", None), ("age_m", None),
    ("image", None), ("average", None),
])
def test_a_column_of_ages_is_known_by_its_name_and_so_is_its_unit(header, years, tmp_path):
    conditions, strange = _understood(_table(tmp_path, f"id\t{header}\na\t24\n"))[0]
    assert conditions.age_years == (None if years is None else pytest.approx(years))
    assert strange == {}


def test_a_second_unit_is_not_taken_for_the_age(tmp_path):
    table = _table(tmp_path, "id\tage_years\tage_months\na\t7\t3\nb\tn/a\t3\n")
    assert [conditions.age_years for conditions, _ in _understood(table)] == [7.0, None]


def test_the_unit_of_a_dictionary_counts(tmp_path):
    table = _table(tmp_path, "id\tage\na\t24\n", {"age": {"Units": "months"}})
    assert _understood(table)[0][0].age_years == 2.0


@pytest.mark.parametrize(("header", "sexes"), [
    ("sex", [None, None]), ("SEX_ID (1=m, 2=f)", ["M", "F"]), ("sex (m=1; f=2)", ["M", "F"]),
    ("Gender [1: female, 2: male]", ["F", "M"]), ("Sex 1=male 2=female", ["M", "F"]),
    ("sex (1-male 2-female)", ["M", "F"]), ("sex (1=male)", [None, None]),
    ("sex (1=m, 1=f, 2=f)", [None, "F"]), ("sex (M/F)", [None, None]),
])
def test_codes_of_sex_are_explained_by_the_name_or_not_at_all(header, sexes, tmp_path):
    table = _table(tmp_path, f"id,\"{header}\"\na,1\nb,2.0\n", name="t.csv")
    understood = _understood(table)
    assert [conditions.sex for conditions, _ in understood] == sexes
    assert [bool(strange) for _, strange in understood] == [sex is None for sex in sexes]


@pytest.mark.parametrize("column", [
    {"Levels": {"0": "Female", "1": "male"}},
    {"Levels": {"0": {"Description": "female"}, "1": {"Description": "male"}}},
    {"Description": "Sex of the participant, 0 = female, 1 = male"},
    {"LongName": "sex (female: 0, male: 1)"},
])
def test_codes_are_explained_by_the_dictionary(column, tmp_path):
    table = _table(tmp_path, "id\tsex\na\t0\nb\t1\nc\t2\n", {"Sex": column})
    understood = _understood(table)
    assert [conditions.sex for conditions, _ in understood] == ["F", "M", None]


def test_a_remark_in_a_description_explains_nothing(tmp_path):
    table = _table(tmp_path, "id\tsex\na\t1\n", {"sex": {"Description": "sex; 1 female was excluded"}})
    assert _understood(table)[0][0].sex is None


@pytest.mark.parametrize("content", ["{not json", "[1]", '{"sex": ["M", "F"]}',
                                     '{"sex": {"Levels": 3}}'])
def test_a_dictionary_that_is_none_explains_nothing(content, tmp_path):
    table = _table(tmp_path, "id\tsex\na\t1\n")
    (tmp_path / "participants.json").write_text(content)
    book = open_codebook(table)
    assert book.cells(table.rows[0])["sex"].meaning is None
    assert (book.damage is not None) == (content[0] != "{" or content[1] == "n")


def test_a_mapping_goes_before_a_dictionary_and_that_before_a_name(tmp_path):
    table = _table(tmp_path, "id\tsex (1=m, 2=f)\na\t1\n")
    assert _understood(table)[0][0].sex == "M"
    (tmp_path / "participants.json").write_text(
        json.dumps({"sex (1=m, 2=f)": {"Levels": {"1": "female", "2": "male"}}}))
    assert _understood(table)[0][0].sex == "F"
    mapping = _mapping(sex={"column": "SEX (1=M, 2=F)", "codes": {"1": "M"}})
    assert _understood(table, mapping)[0][0].sex == "M"


def test_a_code_of_the_mapping_may_be_unknown_or_look_so(tmp_path):
    table = _table(tmp_path, "id\tsex\na\t-9\nb\t7\n")
    mapping = _mapping(sex={"column": "sex", "codes": {"-9": "F", "7": "n/a"}})
    understood = _understood(table, mapping)
    assert [conditions.sex for conditions, _ in understood] == ["F", None]
    assert all(strange == {} for _, strange in understood)


def test_what_a_mapping_does_not_name_is_found_by_its_usual_name(tmp_path):
    table = _table(tmp_path, "id\tA1\tsex\tsite\na\t600\tM\tX\n")
    mapping = _mapping(age_years={"column": "a1", "unit": "months"}, site={"id_pattern": "(?P<site>.)"})
    book = open_codebook(table, mapping)
    conditions, _ = understand(book.cells(table.rows[0]), None)
    assert (conditions.age_years, conditions.sex) == (50.0, "M")
    assert "site" not in book.cells(table.rows[0])


def test_a_mapping_that_names_no_column_of_the_table_is_refused_with_those_that_there_are(tmp_path):
    table = _table(tmp_path, "Study ID\tAGE\na\t3\n")
    with pytest.raises(ConfigError) as error:
        open_codebook(table, _mapping(sex="SEX", site="Centre"))
    for text in ("`subject: id`", "`sex: SEX`", "`site: Centre`", "Study ID, AGE"):
        assert text in str(error.value)
    assert open_codebook(table, _mapping(sex="SEX"), is_for_this=False).readings["sex"] == ()


@pytest.mark.parametrize(("header", "subject"), [
    ("participant_id\tid", "participant_id"), ("age\tsubject", "subject"), ("IXI_ID\tage", "ixi_id"),
    ("SEX_ID (1=m, 2=f)\tage", None), ("session_id\tage", None), ("index\tname", None),
    ("site_id\tage", None),
])
def test_the_column_of_the_ids_is_known_by_its_name(header, subject, tmp_path):
    assert open_codebook(_table(tmp_path, f"{header}\n1\t2\n")).subject == subject


def test_the_best_column_that_says_something_counts(tmp_path):
    table = _table(tmp_path, "id\tdx\tgroup\tdiagnosis\na\tAD\tcontrol\tn/a\n")
    assert _understood(table)[0][0].diagnosis == "HC"


def test_letters_of_another_language_are_told_by_the_whole_column(tmp_path):
    table = _table(tmp_path, "id\tsexo\na\tH\nb\tM\n")
    assert [conditions.sex for conditions, _ in _understood(table)] == ["M", None]
    mapping = _mapping(sex={"column": "sexo", "codes": {"H": "M", "M": "F"}})
    assert [conditions.sex for conditions, _ in _understood(table, mapping)] == ["M", "F"]


@pytest.mark.parametrize(("name", "known"), [
    ("IXI_demographics_noDOB.csv", {"age_years": 590, "sex": 619}),
    ("UCSF-PDGM-metadata_v2.csv", {"age_years": 501, "sex": 501, "severity": 501}),
    ("UPENN-GBM_clinical_info_v1.0.csv", {"age_years": 671, "sex": 671}),
    ("ds000030_participants.tsv", {"age_years": 272, "sex": 272, "diagnosis": 272}),
    ("ds002748_participants.tsv", {"age_years": 72, "sex": 72, "diagnosis": 72}),
    ("brainscape_IXI_participants.tsv", {"age_years": 564, "sex": 567}),
    ("spine-generic-single_participants.tsv", {"age_years": 19, "sex": 19}),
])
def test_real_tables_are_understood(name, known, test_data):
    understood = _understood(read_table(test_data / "phenotypic" / name))
    for variable, count in known.items():
        assert sum(getattr(c, variable) is not None for c, _ in understood) == count
