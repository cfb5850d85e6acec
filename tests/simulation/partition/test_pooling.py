from pathlib import Path

import pytest

from braing3n.errors import ConfigError
from simulation.cohorts.definitions import load_definition
from simulation.cohorts.rows import read_cohort
from simulation.partition.parts import partition_cohort
from simulation.partition.pooling import find_sources, read_sources


def _definition(folder: Path, name: str, **keys: str) -> Path:
    path = folder / f"{name}.yaml"
    lines = {"name": name, "subject": "participant_id", "age_years": "age", "site": "{column: centre}",
             **keys}
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return path


def _table(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("participant_id\tage\tcentre\n" + "".join(f"{row}\n" for row in rows))
    return path


def _scan(folder: Path, subject: str) -> None:
    path = folder / subject / "anat" / f"{subject}_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    path.touch()


def test_one_id_in_two_cohorts_is_two_people_and_sites_bear_the_cohorts_name(tmp_path):
    given = [f"{_definition(tmp_path, name)}={_table(tmp_path / f'{name}.tsv', *rows)}"
             for name, rows in (("one", ("01\t20\tNYU", "02\t30\tUCLA")),
                                ("two", ("01\t40\tNYU", "ball\t1\tNYU")))]
    _definition(tmp_path, "two", exclude="{subject: ^ball$}")
    rows = read_sources(find_sources(given, None, None))
    assert [(row.subject, row.site, row.cohort) for row in rows.rows] == [
        ("one:01", "one:NYU", "one"), ("one:02", "one:UCLA", "one"), ("two:01", "two:NYU", "two")]
    done = partition_cohort(rows)
    assert [site.name for site in done.sites] == ["one:NYU", "one:UCLA", "two:NYU"]
    assert [one.subject for one in done.dropped] == ["two:ball"]
    assert done.warnings == ()


def test_a_name_is_a_shipped_cohort_or_a_file_and_a_path_may_have_the_sign_in_it(tmp_path):
    source, = find_sources(["ixi=/data/a=b"], None, None)
    assert source.definition.about.name == "ixi"
    assert source.path == Path("/data/a=b")
    source, = find_sources(["/data/a=b"], "ixi", None)
    assert (source.path, source.is_named) == (Path("/data/a=b"), False)


@pytest.mark.parametrize(("given", "cohort", "mapping"), [
    (["/a", "/b"], None, None), (["ixi=/a", "/b"], None, None), (["=/a", "ixi=/b"], None, None),
    (["ixi=", "cnp=/b"], None, None), (["ixi=/a", "ixi=/b"], None, None), (["/a", "/b"], "ixi", None),
    (["/a"], "ixi", Path("x.yaml")), (["ixl=/a"], None, None),
])
def test_what_is_not_clear_is_refused(given, cohort, mapping):
    with pytest.raises(ConfigError):
        find_sources(given, cohort, mapping)


def test_a_folder_of_bids_folders_needs_no_definition(tmp_path):
    for site, subject in (("North 1", "sub-1"), ("south", "sub-2")):
        _scan(tmp_path / "all" / site, subject)
        _table(tmp_path / "all" / site / "participants.tsv", f"{subject}\t33\tn/a")
    rows = read_sources(find_sources([str(tmp_path / "all")], None, None))
    assert [(row.subject, row.site, row.conditions.age_years) for row in rows.rows] == [
        ("sub-1", "north-1", 33.0), ("sub-2", "south", 33.0)]


def test_somebody_in_two_of_its_folders_is_told_and_in_one_part(tmp_path):
    for site in ("a", "b"):
        _scan(tmp_path / site, "sub-1")
    _scan(tmp_path / "b", "sub-2")
    done = partition_cohort(read_sources(find_sources([str(tmp_path)], None, None)))
    assert [warning.code for warning in done.warnings] == ["travelling-subject"]
    assert {site.name: site.num_subjects for site in done.sites} == {"a": 1, "b": 1}


@pytest.mark.parametrize("inside", [None, "sub-1"])
def test_a_single_dataset_or_an_empty_folder_needs_one(inside, tmp_path):
    if inside:
        _scan(tmp_path, inside)
    with pytest.raises(ConfigError, match="not said how the cohort is read"):
        read_sources(find_sources([str(tmp_path)], None, None))


def test_with_a_definition_the_site_that_it_finds_goes_before_the_folders_name(tmp_path):
    definition = load_definition(_definition(tmp_path, "own"))
    for site, rows in (("x", ("sub-1\t20\tNYU",)), ("y", ("sub-2\t20\tn/a",))):
        _scan(tmp_path / "all" / site, rows[0][:5])
        _table(tmp_path / "all" / site / "participants.tsv", *rows)
    read = read_cohort(tmp_path / "all", definition)
    assert [(row.subject, row.site) for row in read.rows] == [("sub-1", "NYU"), ("sub-2", "y")]
