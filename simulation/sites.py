"""From a folder of cohorts to the site files of a simulation: one hospital a BIDS folder."""

import re
from pathlib import Path

import yaml

from braing3n.config import DataConfig
from braing3n.data.cohort import open_cohort
from braing3n.data.examples import MIN_SUBJECTS_FOR_MOMENTS
from braing3n.data.splits import place, strata_of
from braing3n.errors import CohortError
from braing3n.files import write_text


def find_site_folders(cohort: Path) -> dict[str, Path]:
    """Return the BIDS datasets directly inside `cohort`, by site name.

    A dataset has a dataset_description.json, a participants.tsv or sub-* folders. The site's name
    is the folder's, in lower case with dashes.

    Raises:
        CohortError: The folder is missing, holds no dataset, or is itself one hospital's dataset.
    """
    fix = "give --cohort a folder that holds one BIDS folder for each site"
    expected = "a folder with one BIDS folder a site, two or more"
    if not cohort.is_dir():
        raise CohortError(f"{cohort} is no folder", expected=expected,
                          found="a file" if cohort.exists() else "nothing there", fix=fix)
    if _is_dataset(cohort):
        raise CohortError(f"{cohort} is a single dataset", expected=expected,
                          found="one BIDS dataset", fix=fix)
    folders: dict[str, Path] = {}
    for path in sorted(cohort.iterdir()):
        if not path.is_dir() or path.name.startswith(".") or not _is_dataset(path):
            continue
        taken = folders.setdefault(site_name(path.name), path)
        if taken != path:
            raise CohortError(f"two folders of {cohort} have the same site name",
                              expected="names that differ in letters a-z and digits",
                              found=f"{taken.name} and {path.name}", fix="rename one of them")
    if not folders:
        inside = sorted(path.name for path in cohort.iterdir())[:5]
        raise CohortError(f"{cohort} holds no BIDS dataset", expected=expected,
                          found=", ".join(inside) or "an empty folder", fix=fix)
    return folders


def site_name(folder: str) -> str:
    """Return a folder's name as a site name: lower-case letters, digits and dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    return name[:40].strip("-") or "site"


def check_trainable(folders: dict[str, Path]) -> None:
    """Check that every site has subjects enough for all stages, before hours are spent on one.

    Raises:
        CohortError: A site has no scans, or too few subjects beside those that are held out.
    """
    for name, folder in folders.items():
        data = DataConfig(folder=folder)
        split = place(strata_of((v.subject, v.conditions) for v in open_cohort(data).volumes), data, {})
        training = sum(side == "train" for side in split.values())
        if training < MIN_SUBJECTS_FOR_MOMENTS:
            raise CohortError(f"{name} has too few subjects to train on",
                              expected=f"at least {MIN_SUBJECTS_FOR_MOMENTS} beside the "
                                       f"{data.held_out:.0%} held out by id",
                              found=f"{training} of {len(split)} subjects",
                              fix="add subjects to that site, or leave its folder out")


def write_site_files(folders: dict[str, Path], out: Path) -> Path:
    """Write one site file a folder to OUT/sites, each with its own state folder beside it."""
    sites = out / "sites"
    for name, folder in folders.items():
        content = {"name": name, "data": {"folder": str(folder.resolve())}, "state_dir": name,
                   "threads": 1}
        write_text(sites / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False))
    return sites


def _is_dataset(folder: Path) -> bool:
    marks = ("dataset_description.json", "participants.tsv")
    return any((folder / mark).exists() for mark in marks) or any(
        path.is_dir() for path in folder.glob("sub-*")
    )
