from pathlib import Path

import pytest
import yaml

from braing3n.config import load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.data.site_data import open_site_data
from braing3n.errors import CohortError, ConfigError
from braing3n.presets import PRESETS
from simulation.compare.cohort import Sites, open_sites, write_arm_sites
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files


@pytest.fixture
def given(tmp_path: Path, phantom_cohort: Path) -> list[Path]:
    folder = write_site_files(find_site_folders(phantom_cohort), tmp_path / "given")
    return sorted(folder.glob("*.yaml"))


@pytest.fixture
def sites(tmp_path: Path, given: list[Path]) -> Sites:
    return open_sites(given, tmp_path / "out", 0.4)


def test_tables_keep_all_that_is_known_of_every_scan(sites: Sites, given: list[Path]) -> None:
    for path in given:
        before = load_site_config(path)
        ours = open_cohort(sites.configs[before.name].data).volumes
        theirs = open_cohort(before.data).volumes
        assert ([(one.subject, one.session, one.modality, one.path, one.conditions) for one in ours]
                == [(f"{before.name}:{one.subject}", one.session, one.modality, one.path.resolve(),
                     one.conditions) for one in theirs])


def test_nobody_who_is_held_out_is_trained_on_in_any_arm(sites: Sites, tmp_path: Path) -> None:
    held_out = {subject for subject, side in sites.split.items() if side != "train"}
    assert len(held_out) == 4
    for name, pooled in (("federated", False), ("pooled", True)):
        folder = write_arm_sites(sites, sites.names, tmp_path / name / "sites", pooled=pooled)
        trained, measured = set(), set()
        for path in folder.glob("*.yaml"):
            data = open_site_data(load_site_config(path), PRESETS["nano"])
            trained |= {one.subject for one in data.train}
            measured |= {one.subject for one in data.held_out}
        assert trained == set(sites.split) - held_out
        assert measured == held_out


def test_pooled_scans_are_one_site_with_the_scans_of_all(sites: Sites, tmp_path: Path) -> None:
    folder = write_arm_sites(sites, sites.names, tmp_path / "pooled" / "sites", pooled=True)
    (path,) = folder.glob("*.yaml")
    pooled = open_cohort(load_site_config(path).data).volumes
    single = [one for config in sites.configs.values() for one in open_cohort(config.data).volumes]
    assert {one.path for one in pooled} == {one.path for one in single}
    assert len(pooled) == len(single)


def test_one_site_is_nothing_to_compare(tmp_path: Path, given: list[Path]) -> None:
    with pytest.raises(CohortError, match="nothing to compare"):
        open_sites(given[:1], tmp_path / "out", 0.3)


def test_sites_with_too_few_subjects_are_all_named(tmp_path: Path, given: list[Path]) -> None:
    with pytest.raises(CohortError, match=r"site-a \(5\), site-b \(5\)"):
        open_sites(given, tmp_path / "out", 0.8)


def test_sites_that_are_preprocessed_otherwise_cannot_be_pooled(
    tmp_path: Path, given: list[Path]
) -> None:
    content = yaml.safe_load(given[0].read_text())
    content["preprocessing"] = {"check": False}
    given[0].write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="not preprocessed alike"):
        open_sites(given, tmp_path / "out", 0.3)
