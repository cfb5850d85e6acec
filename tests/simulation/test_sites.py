from pathlib import Path

import pytest

from braing3n.config import load_site_config
from braing3n.errors import CohortError
from simulation.sites import check_trainable, find_site_folders, site_name, write_site_files


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name / "sub-1").mkdir(parents=True)
    return folder


def test_every_bids_folder_is_a_site_by_its_name(tmp_path: Path) -> None:
    make(tmp_path, "Site_B", "a")
    (tmp_path / ".git" / "sub-1").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    assert list(find_site_folders(tmp_path)) == ["site-b", "a"]


def test_two_folders_that_would_be_one_site_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="the same site name"):
        find_site_folders(make(tmp_path, "Site A", "site-a"))


def test_a_single_dataset_and_a_file_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="is a single dataset"):
        find_site_folders(make(tmp_path, "sub-1"))
    (tmp_path / "file").touch()
    with pytest.raises(CohortError, match="is no folder"):
        find_site_folders(tmp_path / "file")


@pytest.mark.parametrize(("folder", "name"), [("Zürich 2", "z-rich-2"), ("__", "site"),
                                              ("a" * 60, "a" * 40)])
def test_names_are_made_of_letters_digits_and_dashes(folder: str, name: str) -> None:
    assert site_name(folder) == name


def test_site_files_load_and_each_has_a_state_folder_of_its_own(tmp_path: Path) -> None:
    sites = write_site_files(find_site_folders(make(tmp_path / "c", "a", "b")), tmp_path / "out")
    configs = [load_site_config(path) for path in sorted(sites.glob("*.yaml"))]
    assert [config.name for config in configs] == ["a", "b"]
    assert len({config.state_dir for config in configs}) == 2


def test_a_site_without_a_subject_to_train_on_is_named_before_the_run(
    phantom_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = find_site_folders(phantom_cohort)
    check_trainable(folders)
    monkeypatch.setattr("simulation.sites.place",
                        lambda strata, *_: dict.fromkeys(strata, "validation"))
    with pytest.raises(CohortError, match="2 of 2 sites have too few subjects to train on"):
        check_trainable(folders)
