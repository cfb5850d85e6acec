"""What a user gives to a comparison: sites, probes, and how much of the machine."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from braing3n.counting import counting
from braing3n.errors import ConfigError
from braing3n.evaluation.tasks import Task, load_tasks
from braing3n.files import check_free
from braing3n.plan import load_plan
from simulation.sites import find_partition_sites, find_site_folders, write_site_files

# The embedded cohort: enough held-out subjects for intervals that say something.
NUM_SITES, NUM_SUBJECTS = 8, 240


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


def check_out(out: Path) -> None:
    """Check that a folder is new, empty, or that of a comparison: nothing is mixed with data.

    Raises:
        OutputError: Something else is in it.
    """
    begun = any((out / name).exists() for name in ("settings.json", "given", "phantom"))
    hidden = out.is_dir() and all(path.name.startswith(".") for path in out.iterdir())
    if not begun and not hidden:  # a killed call leaves hidden parts of the phantom
        check_free(out)


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
