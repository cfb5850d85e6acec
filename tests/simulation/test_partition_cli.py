import json

import pytest
from typer.testing import CliRunner

from braing3n.config import load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.errors import ConfigError, OutputError
from simulation.cli import app

RUNNER = CliRunner()


def _run(*arguments):
    return RUNNER.invoke(app, ["partition", *map(str, arguments)])


@pytest.fixture
def cohort(tmp_path):
    """Three people at two centres; the images are empty files."""
    folder = tmp_path / "cohort"
    for subject in ("a01", "b01", "c01"):
        path = folder / f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        path.touch()
    (folder / "participants.tsv").write_text(
        "participant_id\tage\tsex\tcentre\nsub-a01\t34\tM\tnorth\nsub-b01\t41\tF\tSouth 1\n"
        "sub-c01\t29\tF\tnorth\n")
    (tmp_path / "own.yaml").write_text("name: own\nsubject: participant_id\nage_years: age\n"
                                       "sex: sex\nsite: {column: centre}\n")
    return folder


def test_the_json_has_sites_dropped_and_warnings(cohort, tmp_path):
    found = json.loads(_run(cohort, "--cohort", tmp_path / "own.yaml", "--json").stdout)
    assert found == {"sites": [{"name": "South 1", "num_subjects": 1, "num_volumes": 1},
                               {"name": "north", "num_subjects": 2, "num_volumes": 2}],
                     "dropped": [], "warnings": []}


def test_a_mapping_file_as_a_hospital_writes_it_does_as_well(cohort, tmp_path):
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("subject: participant_id\nsite: centre\n")
    assert len(json.loads(_run(cohort, "--mapping", mapping, "--json").stdout)["sites"]) == 2


def test_each_site_gets_settings_that_open_its_own_scans_and_what_is_known_of_them(cohort, tmp_path):
    outcome = _run(cohort, "--cohort", tmp_path / "own.yaml", "--out", tmp_path / "out")
    assert "settings of 2 sites" in outcome.stdout
    config = load_site_config(tmp_path / "out/sites/north.yaml")
    volumes = open_cohort(config.data).volumes
    assert [(volume.subject, volume.conditions.age_years, volume.conditions.sex, volume.modality)
            for volume in volumes] == [("sub-a01", 34.0, "M", "T1w"), ("sub-c01", 29.0, "F", "T1w")]
    assert load_site_config(tmp_path / "out/sites/south-1.yaml").name == "south-1"


def test_rows_without_scans_are_told_apart(cohort, tmp_path):
    table = tmp_path / "people.tsv"
    table.write_text((cohort / "participants.tsv").read_text())
    outcome = _run(table, "--cohort", tmp_path / "own.yaml", "--out", tmp_path / "out")
    assert "of no scans" in outcome.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["partition.json"]


@pytest.mark.parametrize(("arguments", "error"), [
    ([], ConfigError), (["--cohort", "ixi", "--mapping", "x.yaml"], ConfigError),
    (["--cohort", "ixl"], ConfigError), (["--cohort", "ixi", "--small", "often"], ConfigError),
])
def test_misuse_is_refused_in_words(arguments, error, cohort):
    assert isinstance(_run(cohort, *arguments).exception, error)


def test_a_taken_folder_is_not_written_to(cohort, tmp_path):
    outcome = _run(cohort, "--cohort", tmp_path / "own.yaml", "--out", cohort)
    assert isinstance(outcome.exception, OutputError)
