import json
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from braing3n.config import DataConfig, load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.errors import CohortError, ConfigError, OutputError
from simulation.cli import app
from simulation.sites import find_partition_sites

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


def test_where_no_row_tells_a_site_the_way_on_is_told(cohort, tmp_path):
    (tmp_path / "other.yaml").write_text(
        "name: own\nsubject: participant_id\nsite: {id_pattern: 'xx-(?P<site>.*)'}\n")
    outcome = _run(cohort / "participants.tsv", "--cohort", tmp_path / "other.yaml")
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("nobody is at any site")
    assert "3 of 3 rows tell no site" in outcome.stdout


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
    assert "no settings of sites" in outcome.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "differences.png", "differences.tsv", "partition.html", "partition.json"}


def test_rows_without_images_are_called_rows_wherever_they_are_counted(cohort, tmp_path):
    table = tmp_path / "people.tsv"
    table.write_text((cohort / "participants.tsv").read_text() + "sub-d01\t30\tF\tn/a\n")
    outcome = _run(table, "--cohort", tmp_path / "own.yaml", "--out", tmp_path / "out")
    header = next(line for line in outcome.stdout.splitlines() if "subjects" in line)
    assert header.split()[:3] == ["site", "subjects", "rows"]
    assert "left out, 1 rows: no site is told" in outcome.stdout
    page = (tmp_path / "out/partition.html").read_text()
    assert "3 subjects, 3 rows" in page
    assert "<th>rows</th>" in page
    assert "scans a site" not in page  # no grey values were compared


def _command_in(refused):
    """Return the arguments of the command that an error tells to give."""
    words = shlex.split(refused.value.fix.partition("braing3n sim partition ")[2].partition(" (")[0])
    return words[: words.index("--out") + 1]


def test_a_partition_without_images_is_refused_with_the_command_that_makes_one_with_them(
        cohort, tmp_path):
    options = ("--cohort", tmp_path / "own.yaml", "--min-subjects", "2", "--small", "merge")
    _run(cohort / "participants.tsv", *options, "--out", tmp_path / "people")
    with pytest.raises(CohortError, match="has no site's settings") as refused:
        find_partition_sites(tmp_path / "people")
    assert "3 rows with no images behind them" in refused.value.found
    arguments = _command_in(refused)
    assert arguments == [str(cohort), *map(str, options), "--out"]
    assert _run(*arguments, tmp_path / "scans").exit_code == 0
    assert set(find_partition_sites(tmp_path / "scans")) == {"north", "small-sites"}


def test_where_the_images_are_not_known_the_command_has_a_place_for_them(cohort, tmp_path):
    table = tmp_path / "people.tsv"
    table.write_text((cohort / "participants.tsv").read_text())
    own = tmp_path / "own.yaml"
    _run(f"{own}={table}", "--by", "iid", "--parts", "2", "--out", tmp_path / "people")
    with pytest.raises(CohortError, match="has no site's settings") as refused:
        find_partition_sites(tmp_path / "people")
    assert "3 rows with no images behind them" in refused.value.found
    assert _command_in(refused) == [f"{own}=FOLDER", "--by", "iid", "--parts", "2", "--out"]
    assert "FOLDER: the cohort's BIDS folder with its images" in refused.value.fix


def test_sites_without_images_beside_others_with_them_are_counted(cohort, tmp_path):
    (tmp_path / "people.tsv").write_text((cohort / "participants.tsv").read_text())
    (tmp_path / "two.yaml").write_text((tmp_path / "own.yaml").read_text().replace("own", "own-2"))
    outcome = _run(f"{tmp_path / 'own.yaml'}={cohort}",
                   f"{tmp_path / 'two.yaml'}={tmp_path / 'people.tsv'}", "--out", tmp_path / "out")
    assert "settings of 2 sites; no images are behind the rows of 2 others" in outcome.stdout
    assert "6 scans and rows" in (tmp_path / "out/partition.html").read_text()


def test_what_the_table_itself_says_of_scans_that_are_missing_is_a_warning(test_data, tmp_path):
    # `cut -f13 participants.tsv | grep -c n/a` is 7, and the listing of images has 265 T1w.
    source = test_data / "bids/ds000030-cnp/participants.tsv"
    outcome = _run(source, "--cohort", "cnp", "--out", tmp_path / "out")
    assert "scan-missing: T1w" in outcome.stdout
    found = json.loads((tmp_path / "out/partition.json").read_text())
    assert found["sites"] == [{"name": "35343", "num_subjects": 180, "num_volumes": 180},
                              {"name": "35426", "num_subjects": 92, "num_volumes": 92}]
    warning, = found["warnings"]
    assert warning["code"] == "scan-missing"
    assert "7 of 272 rows" in warning["detail"]
    page = (tmp_path / "out/partition.html").read_text()
    assert "scan-missing" in page
    assert "<p>Nothing.</p>" not in page


@pytest.mark.parametrize(("arguments", "error"), [
    ([], ConfigError), (["--cohort", "ixi", "--mapping", "x.yaml"], ConfigError),
    (["--cohort", "ixl"], ConfigError), (["--cohort", "ixi", "--by", "iid"], ConfigError),
])
def test_misuse_is_refused_in_words(arguments, error, cohort):
    assert isinstance(_run(cohort, *arguments).exception, error)


def test_a_taken_folder_is_not_written_to(cohort, tmp_path):
    outcome = _run(cohort, "--cohort", tmp_path / "own.yaml", "--out", cohort)
    assert isinstance(outcome.exception, OutputError)


def test_a_word_that_is_no_choice_ends_with_exit_code_2(cohort):
    outcome = _run(cohort, "--cohort", "ixi", "--small", "often")
    assert outcome.exit_code == 2
    assert "keep" in outcome.stderr


def _known(volume):
    return (volume.subject, volume.session, volume.modality, volume.path, volume.conditions)


@pytest.mark.parametrize("options", [
    (), ("--by", "site-groups", "--group-size", "2"), ("--by", "iid", "--parts", "2", "--seed", "4"),
    ("--by", "dirichlet", "--parts", "2", "--alpha", "9", "--variable", "sex"),
])
def test_every_scan_of_the_phantom_is_read_back_from_one_sites_file_as_it_was(
        options, phantom_cohort, tmp_path):
    outcome = _run(phantom_cohort, *options, "--out", tmp_path / "out", "--scans", "1")
    assert outcome.exit_code == 0, outcome.stderr
    files = sorted((tmp_path / "out/sites").glob("*.yaml"))
    found = [volume for file in files for volume in open_cohort(load_site_config(file).data).volumes]
    truth = [volume for site in ("site-a", "site-b") for volume in
             open_cohort(DataConfig(folder=phantom_cohort / site)).volumes]
    assert sorted(map(_known, found), key=str) == sorted(map(_known, truth), key=str)
    homes = [{volume.subject for volume in open_cohort(load_site_config(file).data).volumes}
             for file in files]
    assert sum(map(len, homes)) == len(set().union(*homes)) == 10
    assert all(load_site_config(file).state_dir.parent == tmp_path / "out/sites" for file in files)


def test_the_mini_cohort_of_two_hospitals_is_divided_and_read_back(test_data, tmp_path):
    source = test_data / "nifti/minicohort"
    outcome = _run(source, "--cohort", "minicohort", "--out", tmp_path / "out", "--scans", "2")
    assert outcome.exit_code == 0, outcome.stderr
    for site, count in (("site-hh", 28), ("site-nsk", 48)):
        volumes = open_cohort(load_site_config(tmp_path / f"out/sites/{site}.yaml").data).volumes
        assert len({volume.subject for volume in volumes}) == len(volumes) == count
        assert all(volume.conditions.diagnosis in ("HC", "MDD") for volume in volumes)
    content = json.loads((tmp_path / "out/partition.json").read_text())
    assert content["sites"] == [{"name": "site-hh", "num_subjects": 28, "num_volumes": 28},
                                {"name": "site-nsk", "num_subjects": 48, "num_volumes": 48}]
    assert content["scheme"] == {"by": "site"}
    assert content["differences"]["pool"]["diagnosis"] == {"HC": 42, "MDD": 34, "unknown": 0}
    for site in content["differences"]["sites"]:
        assert 0 < site["intensity"]["T1w"]["wasserstein"] < 1


def test_a_scan_that_is_a_link_keeps_its_name(tmp_path):
    """As in a dataset of git-annex, where links lead to files that are named by their digest."""
    (tmp_path / "annex").mkdir()
    (tmp_path / "annex/MD5E-s1--ab").touch()
    scan = tmp_path / "data/sub-1/anat/sub-1_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.symlink_to(tmp_path / "annex/MD5E-s1--ab")
    (tmp_path / "own.yaml").write_text("name: own\nsubject: participant_id\nsite: {single: a}\n")
    outcome = _run(tmp_path / "data", "--cohort", tmp_path / "own.yaml", "--out", tmp_path / "out")
    assert outcome.exit_code == 0
    volume, = open_cohort(load_site_config(tmp_path / "out/sites/a.yaml").data).volumes
    assert (volume.path, volume.modality) == (scan, "T1w")


def test_pooled_cohorts_have_names_that_a_site_may_have(cohort, tmp_path):
    (tmp_path / "two.yaml").write_text((tmp_path / "own.yaml").read_text().replace("own", "own-2"))
    outcome = _run(f"{tmp_path / 'own.yaml'}={cohort}", f"{tmp_path / 'two.yaml'}={cohort}",
                   "--out", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.exception
    names = {load_site_config(path).name for path in (tmp_path / "out/sites").glob("*.yaml")}
    assert names == {"own-north", "own-south-1", "own-2-north", "own-2-south-1"}
    content = json.loads((tmp_path / "out/partition.json").read_text())
    assert content["files"]["own-2:South 1"] == "sites/own-2-south-1.yaml"
    volume, = open_cohort(load_site_config(tmp_path / "out/sites/own-2-south-1.yaml").data).volumes
    assert (volume.subject, volume.site) == ("own-2:sub-b01", "own-2:South 1")


def test_the_page_needs_no_other_file_and_says_what_was_left_out(cohort, tmp_path):
    (cohort / "participants.tsv").write_text(
        "participant_id\tage\tsex\tcentre\nsub-a01\t34\tM\t<b>north</b>\nsub-b01\t41\tF\tsouth\n")
    _run(cohort, "--cohort", tmp_path / "own.yaml", "--out", tmp_path / "out")
    page = (tmp_path / "out/partition.html").read_text()
    assert "data:image/png;base64," in page
    assert "://" not in page
    assert "&lt;b&gt;north&lt;/b&gt;" in page
    assert "left out, 1 scans: no site is told" in page
    assert "could not be used" in page  # the images are empty files


def test_help_does_not_wait_for_the_libraries():
    code = ("import sys; from simulation.cli import app; from typer.testing import CliRunner; "
            "assert CliRunner().invoke(app, ['partition', '--help']).exit_code == 0; "
            "print({'datasets', 'flwr_datasets', 'matplotlib', 'torch', 'yaml'} & sys.modules.keys())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
