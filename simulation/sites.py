"""From a folder of cohorts, or a partition, to the site files of a simulation."""

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from braing3n.config import DataConfig, SiteConfig, load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.data.examples import MIN_SUBJECTS_FOR_MOMENTS
from braing3n.data.splits import place, strata_of
from braing3n.errors import CohortError, ConfigError
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


def find_partition_sites(partition: Path) -> dict[str, Path]:
    """Return the site files of a partition, by site name.

    Args:
        partition: A folder as `braing3n sim partition --out` writes it.

    Raises:
        CohortError: It is none, or holds no site with scans.
        ConfigError: A site file is wrong, or two have the same name.
    """
    fix = "give --partition the folder that `braing3n sim partition --out` wrote"
    if not (partition / "partition.json").is_file():
        raise CohortError(f"{partition} is no partition", expected="a folder with partition.json",
                          found="none in it" if partition.is_dir() else "no such folder", fix=fix)
    files: dict[str, Path] = {}
    for path in sorted((partition / "sites").glob("*.yaml")):
        name = load_site_config(path).name
        if name in files:
            raise ConfigError(f"two files of {partition} have the same site name", found=name,
                              expected="a name for each", fix=f"change it in {path}")
        files[name] = path
    if not files:
        raise CohortError(f"{partition} holds no site with scans", found="no sites/*.yaml",
                          expected="one file a site",
                          fix="split a table or folder with scans: its rows are of people alone")
    return files


def check_trainable(sources: Mapping[str, Path]) -> None:
    """Check that every site has subjects enough for all stages, before hours are spent on one.

    Args:
        sources: For each site its BIDS folder, or its settings file.

    Raises:
        CohortError: Sites have no scans, or too few subjects beside those that are held out.
    """
    small = []
    for name, source in sources.items():
        data = _settings(name, source).data
        split = place(strata_of((v.subject, v.conditions) for v in open_cohort(data).volumes), data, {})
        training = sum(side == "train" for side in split.values())
        if training < MIN_SUBJECTS_FOR_MOMENTS:
            small.append(f"{name}: {training} of {len(split)} subjects")
    if small:
        raise CohortError(
            f"{len(small)} of {len(sources)} sites have too few subjects to train on",
            expected=f"at least {MIN_SUBJECTS_FOR_MOMENTS} at each, beside those that are held out",
            found="; ".join(small),
            fix="make them fewer and larger: `braing3n sim partition ... --min-subjects 5 --small "
                "drop` leaves small sites out, `--small merge` makes one of them; or leave their "
                "folders out")


def write_site_files(sources: Mapping[str, Path], out: Path) -> Path:
    """Write one site file each to OUT/sites, with a state folder of this run's own beside it.

    Args:
        sources: For each site its BIDS folder, or its settings file, which stays as it is.
        out: The run's folder.
    """
    sites = out / "sites"
    for name, source in sources.items():
        content = _settings(name, source).model_copy(update={"state_dir": Path(name)}).model_dump(
            mode="json", exclude_defaults=True)
        write_text(sites / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False))
    return sites


def wants_gpus(sources: Mapping[str, Path]) -> bool:
    """Return whether a site's settings say that it computes on a GPU."""
    return any(_settings(name, source).device == "cuda" for name, source in sources.items())


def _settings(name: str, source: Path) -> SiteConfig:
    """Return a site's settings with all places in full."""
    if source.is_file():
        return load_site_config(source.resolve())
    return SiteConfig(name=name, data=DataConfig(folder=source.resolve()), state_dir=Path(name))


def _is_dataset(folder: Path) -> bool:
    marks = ("dataset_description.json", "participants.tsv")
    return any((folder / mark).exists() for mark in marks) or any(
        path.is_dir() for path in folder.glob("sub-*")
    )
