"""What a user gives to a comparison: sites, probes, and how much of the machine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from braing3n.counting import counting
from braing3n.errors import ConfigError, OutputError
from braing3n.evaluation.tasks import Task, load_tasks
from braing3n.files import canonical_json, check_free, digest_bytes, write_text
from braing3n.plan import Plan, load_plan
from simulation.compare.cohort import Sites
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import find_partition_sites, write_site_files

# The embedded cohort: enough held-out subjects for intervals that say something.
NUM_SITES, NUM_SUBJECTS = 8, 240
PLAN = PLANS / "compare.yaml"

_SETTINGS = "settings.json"


def site_files(cohort: Path | None, partition: Path | None, out: Path, plan: Path, sweep: str,
               console: Console) -> list[Path]:
    """Return a settings file a site, of what is given, or of the embedded cohort.

    Raises:
        ConfigError: Two sources are given, or two sites of a partition have one name.
        CohortError: There is no such cohort or partition, or a partition has no sites.
    """
    if cohort is not None and partition is not None:
        raise ConfigError("two cohorts are given", expected="--cohort or --partition", found="both",
                          fix="give one")
    if partition is not None:
        return list(find_partition_sites(partition).values())
    given = out / "given"
    folder = cohort or _phantom(out / "phantom", load_plan(plan, sweep).seed, console)
    return sorted(write_site_files(find_site_folders(folder), given).glob("*.yaml"))


def source_of(cohort: Path | None, partition: Path | None) -> str:
    """Return where the scans are from, in words; `site_files` says which of them counts."""
    if partition is not None:
        return f"the partition {partition.resolve().name}"
    if cohort is not None:
        return f"the cohort in {cohort.resolve().name}"
    return (f"synthetic brains of {NUM_SUBJECTS} people at {NUM_SITES} made-up hospitals "
            "(braing3n sim phantom, of the plan's seed): nothing here is of patients")


def check_out(out: Path) -> None:
    """Check that a folder is new, empty, or that of a comparison: nothing is mixed with data.

    Raises:
        OutputError: Something else is in it.
    """
    begun = any((out / name).exists() for name in (_SETTINGS, "given", "phantom"))
    hidden = out.is_dir() and all(path.name.startswith(".") for path in out.iterdir())
    if not begun and not hidden:  # a killed call leaves hidden parts of the phantom
        check_free(out)


def remember_settings(out: Path, plan: Plan, sites: Sites) -> None:
    """Check that what is in the folder is of the same plan, sites and split.

    Raises:
        OutputError: It is of others, or its settings cannot be read.
    """
    split = digest_bytes(canonical_json(dict(sites.split)))
    now = {"plan_digest": plan.digest, "sites": list(sites.names), "split_digest": split}
    path = out / _SETTINGS
    if path.exists():
        before = _read_settings(path)
        differ = [key for key, value in now.items() if before.get(key) != value]
        if differ:
            raise OutputError(f"{out} holds another comparison", found=f"another {', '.join(differ)}",
                              expected="the same plan, sites and subjects",
                              fix="name another --out, or give the settings of then")
    write_text(path, json.dumps(now, indent=1) + "\n")


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise _damaged(path)
    return content


def _damaged(path: Path) -> OutputError:
    return OutputError(f"{path} cannot be read", expected="the settings of a comparison, as JSON",
                       found="something else",
                       fix="name another --out; its arms are of settings that nobody knows")


def choose_tasks(names: Sequence[str], path: Path | None) -> dict[str, Task]:
    """Return the probes that are asked for; without names all that are about the six conditions.

    Raises:
        ConfigError: The file is wrong, a name is not in it, or a probe needs a site's own table.
    """
    known = {name: task for name, task in load_tasks(path).items() if task.variable is not None}
    odd = [name for name in names if name not in known]
    if odd:
        raise ConfigError("a probe cannot be compared", expected=f"some of {', '.join(known)}",
                          found=", ".join(odd), fix="name others; probes of a table's own columns "
                                                    "are for `braing3n probe`")
    return {name: known[name] for name in names} if names else known


def _phantom(folder: Path, seed: int, console: Console) -> Path:
    if (folder / "truth.tsv").exists():  # it appears whole or not at all
        return folder
    from simulation.phantom.write import write_phantom  # noqa: PLC0415  # nilearn takes a second

    with counting(console, "making the embedded cohort") as show:
        return write_phantom(folder, sites=NUM_SITES, subjects=NUM_SUBJECTS, seed=seed, progress=show)
