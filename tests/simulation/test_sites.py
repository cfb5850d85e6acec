from pathlib import Path

import pytest

from braing3n.config import load_site_config
from braing3n.errors import CohortError, ConfigError
from simulation.site_folders import find_site_folders
from simulation.sites import (
    check_trainable,
    find_partition_sites,
    wants_gpus,
    write_site_files,
)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name / "sub-1").mkdir(parents=True)
    return folder


def test_site_files_load_and_each_has_a_state_folder_of_its_own(tmp_path: Path) -> None:
    sites = write_site_files(find_site_folders(make(tmp_path / "c", "a", "b")), tmp_path / "out")
    configs = [load_site_config(path) for path in sorted(sites.glob("*.yaml"))]
    assert [config.name for config in configs] == ["a", "b"]
    assert len({config.state_dir for config in configs}) == 2
    assert configs[0].probe_methods == ("ridge", "lda", "logistic", "cox")  # a researcher owns all


def test_a_site_without_a_subject_to_train_on_is_named_before_the_run(
    phantom_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = find_site_folders(phantom_cohort)
    check_trainable(folders)
    monkeypatch.setattr("simulation.sites.place",
                        lambda strata, *_: dict.fromkeys(strata, "validation"))
    with pytest.raises(CohortError, match="2 of 2 sites have too few subjects to train on"):
        check_trainable(folders)


@pytest.fixture
def partition(tmp_path: Path, phantom_cohort: Path) -> Path:
    """A partition as the command writes it, of the phantom's T1w scans."""
    folder = tmp_path / "partition"
    for site in ("one", "two"):
        scans = sorted((phantom_cohort / f"site-{'ab'[site == 'two']}").rglob("*_T1w.nii.gz"))
        table = ["subject\tpath\tmodality", *(f"sub-{k}\t{path}\tT1w" for k, path in enumerate(scans))]
        (folder / "sites").mkdir(parents=True, exist_ok=True)
        (folder / "sites" / f"{site}.tsv").write_text("\n".join(table) + "\n")
        (folder / "sites" / f"{site}.yaml").write_text(
            f"name: {site}\ndata: {{table: {site}.tsv}}\nstate_dir: {site}-state\nthreads: 2\n")
    (folder / "partition.json").write_text("{}")
    return folder


def test_a_partitions_sites_keep_their_settings_and_get_a_state_folder_of_the_run(
    partition: Path, tmp_path: Path
) -> None:
    sources = find_partition_sites(partition)
    check_trainable(sources)
    assert not wants_gpus(sources)
    written = write_site_files(sources, tmp_path / "out")
    configs = [load_site_config(path) for path in sorted(written.glob("*.yaml"))]
    assert [config.name for config in configs] == ["one", "two"]
    assert [config.threads for config in configs] == [2, 2]
    assert configs[0].data.table == partition / "sites" / "one.tsv"
    assert configs[0].state_dir == written / "one"
    assert not list((partition / "sites").glob("*-state"))


def test_all_sites_that_are_too_small_are_named_with_what_to_do(partition: Path) -> None:
    for site in ("one", "two"):
        path = partition / "sites" / f"{site}.tsv"
        path.write_text("\n".join(path.read_text().splitlines()[:3]) + "\n")
    with pytest.raises(CohortError) as refused:
        check_trainable(find_partition_sites(partition))
    assert "one: 2 of 2 subjects; two: 2 of 2 subjects" in refused.value.found
    assert "--min-subjects 5 --small" in refused.value.fix


def test_a_folder_that_is_no_partition_or_has_no_site_is_refused(
    partition: Path, tmp_path: Path
) -> None:
    with pytest.raises(CohortError, match="is no partition"):
        find_partition_sites(tmp_path)
    for path in (partition / "sites").glob("*.yaml"):
        path.unlink()
    with pytest.raises(CohortError, match="has no site's settings") as refused:
        find_partition_sites(partition)
    assert "braing3n sim partition FOLDER --cohort NAME --out NEW_FOLDER" in refused.value.fix
    (partition / "partition.json").write_text("{")
    with pytest.raises(CohortError, match="is damaged"):
        find_partition_sites(partition)


def test_two_partition_files_of_one_name_are_refused(partition: Path) -> None:
    path = partition / "sites" / "two.yaml"
    path.write_text(path.read_text().replace("name: two", "name: one"))
    with pytest.raises(ConfigError, match="the same site name"):
        find_partition_sites(partition)
