from collections import Counter

import pytest
import yaml

from braing3n.data.people.covariates import Cell, is_missing, understand
from braing3n.data.people.names import code_of, column_name
from braing3n.data.people.tables import read_table
from braing3n.errors import ConfigError
from simulation.cohorts.definitions import (
    SHIPPED,
    find_definition,
    load_definition,
    shipped_definitions,
)

# The 18 cohorts of the published model, and those that are small enough to try things on.
NAMES = {"adni", "ppmi", "nki-rs", "upenn-gbm", "hcp-ya", "hbn", "ucsf-pdgm", "gsp", "abide2",
         "fcon1000", "ixi", "abide1", "schizconnect", "adhd200", "corr", "oasis1", "oasis2", "nki2"}
VOLUMES = 35_309


def _write(folder, **content):
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", "subject": "ID", "site": "centre", **content}))
    return path


def _text(definition, table, row, variable):
    source = definition.mapping(table.header).columns()[variable]
    return source, source.column, row[column_name(source.column)]


def _is_empty(definition, table, row, variable):
    return is_missing(_text(definition, table, row, variable)[2])


def _said(definition, table, row, variable):
    """What a definition understands of one row of a table."""
    source, column, text = _text(definition, table, row, variable)
    cell = Cell(column, text, source.codes.get(code_of(text)), source.scale or "")
    return getattr(understand({variable: cell}, None)[0], variable)


def test_the_cohorts_of_the_published_model_are_there_with_all_their_scans():
    definitions = {definition.about.name: definition for definition in shipped_definitions()}
    assert definitions.keys() >= NAMES | {"minicohort", "cnp", "spine-generic", "thp"}
    assert sum(definitions[name].about.volumes for name in NAMES) == VOLUMES
    assert all(path.stem == load_definition(path).about.name for path in SHIPPED.glob("*.yaml"))


def test_each_cohort_says_where_it_is_to_be_had_and_under_which_terms():
    for definition in shipped_definitions():
        assert definition.about.title, definition.about.name
        assert definition.about.terms, definition.about.name
        assert definition.about.source, definition.about.name


@pytest.mark.parametrize(("table", "counts"), [
    # `cut -f1 brainscape_IXI_participants.tsv | sed 's/.*_//' | sort | uniq -c`
    ("brainscape_IXI_participants.tsv", {"Guys": 322, "HH": 187, "IOP": 75}),
    ("ixi_nichart_participants_n100.csv", None),
])
def test_the_site_of_ixi_is_told_by_the_id_in_tables_of_several_makers(table, counts, test_data):
    read = read_table(test_data / "phenotypic" / table)
    mapping = find_definition("ixi").mapping(read.header)
    column = read.columns[read.header.index(mapping.subject.column)]
    found = Counter(mapping.site.matched(mapping.subject.id_of(row[column]), None, "")
                    for row in read.rows)
    assert None not in found
    assert counts is None or found == counts


@pytest.mark.parametrize(("name", "table", "variable", "counts"), [
    # By `cut -f2 ds000030_participants.tsv | sort | uniq -c`.
    ("cnp", "ds000030_participants.tsv", "diagnosis", {"HC": 130, "SCZ": 50, "BP": 49, "ADHD": 43}),
    ("cnp", "ds000030_participants.tsv", "sex", None),
    ("aomic", "brainscape_AOMIC_participants.tsv", "sex", {"F": 483, "M": 445}),
    ("upenn-gbm", "UPENN-GBM_clinical_info_v1.0.csv", "age_years", None),
    ("ucsf-pdgm", "UCSF-PDGM-metadata_v2.csv", "severity", None),
    # Every row is of a glioma: `tail -n +2 FILE | wc -l`
    ("ucsf-pdgm", "UCSF-PDGM-metadata_v2.csv", "diagnosis", {"glioma": 501}),
    ("ixi", "ixi_nichart_participants_n100.csv", "age_years", None),
    ("spine-generic", "spine-generic-single_participants.tsv", "sex", {"M": 19}),
])
def test_the_real_tables_codes_are_all_understood(name, table, variable, counts, test_data):
    read = read_table(test_data / "phenotypic" / table)
    definition = find_definition(name)
    found = Counter(_said(definition, read, row, variable) for row in read.rows
                    if not _is_empty(definition, read, row, variable))
    assert found
    assert None not in found
    assert counts is None or found == counts


def test_a_column_of_several_names_is_the_one_that_the_table_has():
    definition = find_definition("ixi")
    assert definition.mapping(["ID", "age", "sex"]).subject.column == "ID"
    assert definition.mapping(["IXI_ID", "AGE"]).subject.column == "IXI_ID"
    assert definition.mapping(["IXI_ID", "AGE"]).sex is None


@pytest.mark.parametrize(("given", "site"), [
    ("IXI012-HH-1211", "HH"), ("100_Guys", "Guys"), ("IXI598-IOP-1145", "IOP"), ("HHX", None),
])
def test_an_ixi_id_tells_its_hospital(given, site):
    assert find_definition("ixi").mapping().site.matched(given, None, "") == site


@pytest.mark.parametrize(("session", "site"), [
    ("ses-THP0001CCF1", "CCF"), ("ses-THP0004IOWA3", "IOWA"), ("ses-THP0005UW1", "UW"),
])
def test_a_session_of_the_travelling_phantoms_tells_its_centre(session, site):
    assert find_definition("thp").mapping().site.matched("sub-THP0001", session, "") == site


def test_a_subject_of_adni_carries_its_centre():
    assert find_definition("adni").mapping().site.matched("002_S_1234", None, "") == "002"


def test_a_user_adds_a_cohort_by_a_file_and_marks_what_is_from_memory(tmp_path):
    path = _write(tmp_path, sex={"column": "SEX", "codes": {"1": "M", "2": "F"}, "confirm": True},
                  terms={"value": "CC0", "confirm": True})
    definition = find_definition(str(path))
    assert definition.about.terms == "CC0"
    assert set(definition.unconfirmed) == {"sex", "terms"}
    assert definition.mapping().sex.codes == {"1": "M", "2": "F"}


@pytest.mark.parametrize(("change", "words"), [
    ({"site": None}, "exactly one of column"),
    ({"site": {"column": "a", "id_pattern": "(?P<site>x)"}}, "exactly one of column"),
    ({"site": {"single": "a", "column": "b"}}, "tells the site twice"),
    ({"site": {"id_pattern": "(x"}}, "regular expression"), ({"sexx": "SEX"}, "no key `sexx`"),
    ({"name": "My Cohort"}, "small letters"), ({"exclude": {"subject": "("}}, "regular expression"),
    ({"sex": {"column": "SEX", "codes": {"1": "purple"}}}, "what a sex may be"),
])
def test_a_wrong_definition_is_refused_in_words(change, words, tmp_path):
    with pytest.raises(ConfigError, match=r"(?s).*" + words.replace("(", "\\(")):
        load_definition(_write(tmp_path, **change))


def test_without_a_site_it_is_said_what_is_missing(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nsubject: ID\n")
    with pytest.raises(ConfigError, match="does not say what a site is"):
        load_definition(path)


@pytest.mark.parametrize("name", ["ixl", "../ixi", "", "no such"])
def test_a_name_that_is_not_known_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match="one of abide1"):
        find_definition(name)
