import pytest

from braing3n.data.people.tables import read_table
from braing3n.errors import ConfigError
from simulation.cohorts.definitions import find_definition, load_definition_of_mapping
from simulation.cohorts.fitting import fitting_cohorts
from simulation.cohorts.rows import read_cohort


@pytest.mark.parametrize(("table", "cohort", "lacking", "fits"), [
    ("UPENN-GBM_clinical_info_v1.0.csv", "cnp", "subject: participant_id; site: ScannerSerialNumber",
     "upenn-gbm"),
    ("spine-generic-single_participants.tsv", "cnp", "site: ScannerSerialNumber", "spine-generic"),
    ("ds000030_participants.tsv", "abide1", "site: SITE_ID or site", "cnp"),
    ("brainscape_IXI_participants.tsv", "hcp-ya", "subject: Subject", "ixi"),
])
def test_a_table_of_another_cohort_is_refused_and_its_own_is_named(table, cohort, lacking, fits,
                                                                   test_data):
    path = test_data / "phenotypic" / table
    with pytest.raises(ConfigError, match=f"does not look like a table of {cohort}") as refused:
        read_cohort(path, find_definition(cohort))
    assert refused.value.expected == f"these columns: {lacking}"
    assert read_table(path).header[0] in refused.value.found
    assert f"its columns fit {fits}" in refused.value.fix
    assert "mapping file" not in str(refused.value)


def test_each_real_table_of_people_fits_its_own_cohort(test_data):
    for table, name in (("ds000030_participants.tsv", "cnp"),
                        ("ixi_nichart_participants_n100.csv", "ixi"),
                        ("UCSF-PDGM-metadata_v2.csv", "ucsf-pdgm"),
                        ("brainscape_AOMIC_participants.tsv", "aomic")):
        assert name in fitting_cohorts(read_table(test_data / "phenotypic" / table)), table


def test_a_table_that_fits_no_cohort_is_told_how_it_can_be_read(tmp_path):
    (tmp_path / "people.csv").write_text("who,centre\na,north\n")
    with pytest.raises(ConfigError) as refused:
        read_cohort(tmp_path / "people.csv", find_definition("cnp"))
    assert "no known cohort has such columns" in refused.value.fix
    assert "--mapping" in refused.value.fix


def test_of_a_users_own_definition_the_file_is_to_be_corrected(tmp_path):
    (tmp_path / "own.yaml").write_text("name: own\nsubject: participant_id\nsite: centr\n")
    (tmp_path / "people.tsv").write_text("participant_id\tcentre\na\tnorth\n")
    with pytest.raises(ConfigError, match="does not look like a table of own") as refused:
        read_cohort(tmp_path / "people.tsv", find_definition(str(tmp_path / "own.yaml")))
    assert "correct the columns in the definition of own" in refused.value.fix
    (tmp_path / "mapping.yaml").write_text("subject: participant_id\nsite: centr\n")
    with pytest.raises(ConfigError, match="the mapping names columns") as refused:
        read_cohort(tmp_path / "people.tsv", load_definition_of_mapping(tmp_path / "mapping.yaml"))
    assert "correct the mapping file" in refused.value.fix


def test_a_bids_folder_whose_table_is_of_another_cohort_is_refused_too(tmp_path):
    (tmp_path / "sub-1/anat").mkdir(parents=True)
    (tmp_path / "sub-1/anat/sub-1_T1w.nii.gz").touch()
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-1\t30\n")
    with pytest.raises(ConfigError, match="does not look like a table of cnp"):
        read_cohort(tmp_path, find_definition("cnp"))


def test_ids_that_tell_no_site_are_noted_with_the_cohorts_that_would_fit(test_data):
    read = read_cohort(test_data / "phenotypic/ds000030_participants.tsv", find_definition("ixi"))
    assert any("no id tells a site of ixi; the table's columns fit cnp" in note for note in read.notes)
