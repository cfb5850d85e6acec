import pytest

from simulation.cohorts.definitions import find_definition
from simulation.cohorts.rows import read_cohort


@pytest.fixture
def lacking(tmp_path):
    """Read a table of people, and return what each row lacks."""
    (tmp_path / "own.yaml").write_text("name: own\nsubject: participant_id\nsite: {single: a}\n")

    def read(text):
        (tmp_path / "people.tsv").write_text(text)
        rows = read_cohort(tmp_path / "people.tsv", find_definition(str(tmp_path / "own.yaml"))).rows
        return [row.lacking for row in rows]

    return read


def test_a_column_of_a_modality_tells_which_scans_are_missing(lacking):
    assert lacking("participant_id\tT1w\tFLAIR\tbold\ns1\t1\tyes\tn/a\ns2\tn/a\t0.0\t1\n"
                   "s3\t\tno\t1\ns4\ts4_T1w.nii.gz\t2\t1\n") == [
        (), ("T1w", "FLAIR"), ("T1w", "FLAIR"), ()]


def test_a_table_without_such_a_column_says_nothing_of_scans(lacking):
    assert lacking("participant_id\tage\ns1\tn/a\n") == [()]


def test_a_column_that_is_the_modality_of_a_row_is_no_inventory(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "name: own\nsubject: participant_id\nmodality: T1\nsite: {single: a}\n")
    (tmp_path / "people.tsv").write_text("participant_id\tT1\ns1\tn/a\ns2\tT1w\n")
    rows = read_cohort(tmp_path / "people.tsv", find_definition(str(tmp_path / "own.yaml"))).rows
    assert [row.lacking for row in rows] == [(), ()]
