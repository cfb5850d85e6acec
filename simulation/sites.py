"""From sites of a folder or a partition to the site files of a simulation."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import get_args

import yaml

from braing3n.config import DataConfig, Method, SiteConfig, load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.data.examples import MIN_SUBJECTS_FOR_MOMENTS
from braing3n.data.splits import place, strata_of
from braing3n.errors import CohortError, ConfigError
from braing3n.files import write_text
from braing3n.plan import Plan
from simulation.budgets import with_budget
from simulation.partition.asked import PLACE, asked_of


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
        raise _no_settings(partition)
    return files


def _no_settings(partition: Path) -> CohortError:
    """Return why a partition has no site to train at, and the command that makes one with sites."""
    path = partition / "partition.json"
    try:
        record = json.loads(path.read_text())
    except ValueError:
        return CohortError(f"{path} is damaged", expected="a partition's record, as JSON",
                           found="other content", fix="make the partition again, into a new folder")
    asked = asked_of(record)
    command = asked.with_images()
    rows = sum(site["num_volumes"] for site in record.get("sites", ()))
    is_of_rows = rows and not record.get("files")
    where = f" ({PLACE}: the cohort's BIDS folder with its images)" if PLACE in command else ""
    return CohortError(
        f"{partition} has no site's settings", expected="sites/*.yaml, one a site with its scans",
        found=f"{rows} rows with no images behind them, of {', '.join(asked.sources)}" if is_of_rows
        else "none", fix=f"make a partition of images, and give its folder: {command}{where}")


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


def write_site_files(
    sources: Mapping[str, Path], out: Path, plan: Plan | None = None, without_dp: Collection[str] = (),
) -> Path:
    """Write one site file each to OUT/sites, with a state folder of this run's own beside it.

    In a simulation one researcher has all scans, so that sites give sums for every probe; but not
    those with a budget.

    Args:
        sources: For each site its BIDS folder, or its settings file, which stays as it is.
        out: The run's folder.
        plan: Its budget becomes that of every site without one.
        without_dp: Sites that get none.
    """
    sites = out / "sites"
    for name, source in sources.items():
        settings = _settings(name, source)
        methods = get_args(Method) if settings.budget is None else ()
        settings = settings.model_copy(update={"state_dir": Path(name), "probe_methods": methods})
        if plan is not None and name not in without_dp:
            settings = with_budget(settings, plan)
        content = settings.model_dump(mode="json", exclude_defaults=True)
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
