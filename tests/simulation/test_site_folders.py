from pathlib import Path

import pytest

from braing3n.errors import CohortError
from simulation.site_folders import find_site_folders, site_name


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


def test_a_partition_that_is_given_as_a_cohort_is_told(tmp_path: Path) -> None:
    (tmp_path / "partition.json").write_text("{}")
    with pytest.raises(CohortError, match="holds no BIDS dataset") as refused:
        find_site_folders(tmp_path)
    assert refused.value.fix == f"it is a partition: give --partition {tmp_path}"


@pytest.mark.parametrize(("folder", "name"), [("Zürich 2", "z-rich-2"), ("__", "site"),
                                              ("a" * 60, "a" * 40)])
def test_names_are_made_of_letters_digits_and_dashes(folder: str, name: str) -> None:
    assert site_name(folder) == name
