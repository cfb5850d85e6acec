import time
from datetime import UTC, datetime

import pytest

from braing3n.data.people.table_text import read_text
from braing3n.identity.columns import column_hits
from braing3n.identity.content import Kind

# Who was born then is 90 this year.
OLD_YEAR = datetime.now(UTC).year - 90


def judge(text, units=None):
    header, *rows = [line.split("|") for line in text.strip().splitlines()]
    return {(hit.label, hit.kind) for hit in column_hits(header, rows, units or {})}


def test_columns_of_names_numbers_and_dates_are_found():
    assert judge("participant_id|name|mrn|DOB|STUDY_DATE|age|sex\n"
                 "sub-01|Jane Doe|0012345|1966-01-01|2005-11-18|39.9|F") == {
        ("`name`", Kind.NAME), ("`mrn`", Kind.RECORD), ("`DOB`", Kind.DATE),
        ("`STUDY_DATE`", Kind.DATE)}


def test_columns_in_other_languages_are_found():
    assert judge("id|Nachname|Vorname|Geburtsdatum|fecha_nacimiento|date_naissance|prenom\n"
                 "1|Mustermann|Erika|01.01.66|3/1966|n/a|Luc") == {
        ("`Nachname`", Kind.NAME), ("`Vorname`", Kind.NAME), ("`Geburtsdatum`", Kind.DATE),
        ("`fecha_nacimiento`", Kind.DATE), ("`prenom`", Kind.NAME)}


@pytest.mark.parametrize("column", [
    "x|called +49 221 1234567|n/a", "x|a|see MRN 0012345", "x|a|wrote to jane@x.org",
    "x|1.2.840.113619.2.1|a",
    "x|Dr. Example saw him|a", "x|Jan 31 1966|a", "file|Doe_Jane/T1.nii|a.nii",
    "path|/home/jdoe/x.nii|b",
    "scan_date|43261|43262", "scan_date|31/01/66|01/02/66", "start_time|1531222727|1531222730",
    "x|20180710|20180711", "Patient ID|4711234|4711235", "MRN0012345|1|2"])
def test_content_gives_a_column_away_whatever_its_name(column):
    assert judge("participant_id\nsub-01\nsub-02") == set()
    name, first, second = column.split("|")
    assert len(judge(f"participant_id|{name}\nsub-01|{first}\nsub-02|{second}")) == 1


@pytest.mark.parametrize("column", [
    "Patient ID|2|12", "date_available|0|1", "acq_time|1880-01-10T05:17:54|1802-06-04T22:54:25",
    "birth_year|1966|1970", f"birth_year|{OLD_YEAR + 1}|1970", f"founded|{OLD_YEAR}|1970",
    f"year of birth of the database|{OLD_YEAR - 50}|1990",
    "DOB|1966|n/a", "volume|19660101|19679901", "genetic_id|125425|999",
    "path|sub-01/anat/sub-01_T1w.nii.gz|x",
    "diagnosis|Glioblastoma, IDH-wildtype|Astrocytoma, IDH-mutant",
    "institution_id|Max Planck|Anna Seiler", "age|89+|22-25", "age|540|-9999", "icv|1234567.89|0.1",
    "portable|0|1", "nir|0.53|0.61"])
def test_what_names_nobody_passes(column):
    name, first, second = column.split("|")
    # Two more rows, so that one number that happens to be a date is not half of a column.
    assert judge(f"participant_id|{name}\nsub-01|{first}\nsub-02|{second}\nsub-03|{second}"
                 f"\nsub-04|{second}") == set()


def test_a_table_of_regions_has_names_of_no_person():
    assert judge("index|name|abbreviation\n1|Left Hippocampus|LH") == set()


def test_a_column_of_different_surname_comma_given_names_is_found():
    rows = "\n".join(f"sub-{n}|{name}" for n, name in enumerate(
        ("Doe, Xaver", "Roe, Ximena", "Poe, Yannick", "Noe, Wendelin", "Koe, Wu")))
    assert judge(f"participant_id|x\n{rows}") == {("`x`", Kind.NAME)}


def test_ages_over_89_are_found_in_the_unit_that_a_dictionary_says():
    assert judge("participant_id|age\nsub-01|95") == {("`age`", Kind.AGE)}
    assert judge("participant_id|age\nsub-01|95", {"age": "months"}) == set()


def test_columns_without_a_name_and_cells_beyond_the_header_are_judged_by_their_place():
    assert judge("participant_id|\nsub-01|DOE^JANE|1966-01-01") == {
        ("column 2", Kind.NAME), ("column 3", Kind.DATE)}


def test_the_first_row_of_a_table_without_a_header_is_not_shown():
    assert {label for label, _ in judge("DOE^JANE|1966-01-01\nROE^RICHARD|1970-02-02")} == {
        "column 1", "column 2"}


FLAGGED = {"UCSF-PDGM-metadata_v2.csv": {("`Age at MRI`", Kind.AGE)},
           "spine-generic-single_participants.tsv": {("`date_of_scan`", Kind.DATE)}}


def test_real_tables_of_public_cohorts_pass_but_for_what_is_really_there(test_data):
    paths = [*(test_data / "phenotypic").glob("*.[ct]sv"), *(test_data / "bids").rglob("*.tsv"),
             *(test_data / "nifti").rglob("*.tsv")]
    assert len(paths) > 25
    for path in paths:
        records = [cells for _, cells in read_text(path.read_bytes(), path.suffix)[0] if any(cells)]
        found = {(hit.label, hit.kind) for hit in column_hits(records[0], records[1:], {})}
        assert found == FLAGGED.get(path.name, set()), path


def test_ten_thousand_columns_are_judged_within_seconds():
    header = [f"c{number}" for number in range(10_000)]
    started = time.process_time()
    assert column_hits(header, [["1"] * 10_000], {}) == []
    assert time.process_time() - started < 4
