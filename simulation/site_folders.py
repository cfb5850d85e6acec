"""Folders that hold one BIDS dataset a site, and the names that sites get by them."""

import re
from pathlib import Path

from braing3n.errors import CohortError


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
                          found=", ".join(inside) or "an empty folder",
                          fix=f"it is a partition: give --partition {cohort}"
                          if (cohort / "partition.json").is_file() else fix)
    return folders


def site_name(folder: str) -> str:
    """Return a folder's name as a site name: lower-case letters, digits and dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    return name[:40].strip("-") or "site"


def _is_dataset(folder: Path) -> bool:
    marks = ("dataset_description.json", "participants.tsv")
    return any((folder / mark).exists() for mark in marks) or any(
        path.is_dir() for path in folder.glob("sub-*")
    )
