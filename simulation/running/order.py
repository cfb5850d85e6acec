"""What a user of `braing3n sim run` asks for, checked before anything is written."""

from dataclasses import dataclass
from pathlib import Path

from braing3n.errors import ConfigError
from braing3n.plan import Plan
from simulation.running.cluster import check_cluster
from simulation.running.parallel import Capacity, choose_parallel, free_gpus_mb
from simulation.site_folders import find_site_folders
from simulation.sites import check_trainable, find_partition_sites, wants_gpus

PHANTOM_SITES = 4
PHANTOM_SUBJECTS = 64


@dataclass(frozen=True)
class Order:
    """What a user asks for.

    Attributes:
        plan_path: The plan's YAML.
        sweep: Replacements in the plan.
        cohort: Folder with one BIDS folder a site.
        partition: Folder that `braing3n sim partition --out` wrote; with neither, the phantom is made.
        parallel: How many sites work at once; None chooses.
        ray_address: HOST:PORT of an existing Ray cluster to compute on; None starts one here.
        without_dp: Sites that train without differential privacy though the plan has a budget.
        start: Folder that `braing3n sim warm-start --out` wrote.
    """

    plan_path: Path
    sweep: str = ""
    cohort: Path | None = None
    partition: Path | None = None
    parallel: int | None = None
    ray_address: str | None = None
    without_dp: tuple[str, ...] = ()
    start: Path | None = None


def find_sources(order: Order, plan: Plan) -> dict[str, Path]:
    """Return each site's BIDS folder or settings file; nothing where the phantom is to be made.

    Raises:
        BrainG3NError: There are too few, or sites that cannot be trained on, or two sources.
    """
    if order.cohort is not None and order.partition is not None:
        raise ConfigError("it is not said which sites take part", expected="--cohort or --partition",
                          found="both", fix="leave one out")
    if order.cohort is None and order.partition is None:
        return {}
    sources = (find_partition_sites(order.partition) if order.partition is not None
               else find_site_folders(order.cohort or Path()))
    if len(sources) < plan.min_sites:
        raise ConfigError("there are too few sites", expected=f"{plan.min_sites} (min_sites)",
                          found=f"{len(sources)}: {', '.join(sources)}",
                          fix="add sites, or lower min_sites in the plan")
    check_trainable(sources)
    strangers = set(order.without_dp) - sources.keys()
    if strangers:
        raise ConfigError("--without-dp names no site", expected=", ".join(sorted(sources)),
                          found=", ".join(sorted(strangers)), fix="name sites as in the cohort")
    return sources


def phantom_subjects(plan: Plan) -> int:
    """Return how many subjects the embedded cohort has: as many as a budget takes sites to have."""
    return PHANTOM_SUBJECTS if plan.budget is None else PHANTOM_SITES * plan.budget.num_subjects


def find_capacity(order: Order, plan: Plan, sources: dict[str, Path]) -> Capacity:
    """Return how many sites work at once, after looking at what is to compute.

    Raises:
        ConfigError: Not even one fits here, or there is no cluster at the address.
    """
    if order.ray_address is not None:
        if order.parallel is not None:
            raise ConfigError("--parallel is for this machine alone", expected="--parallel or "
                              "--ray-address", found="both",
                              fix="start Ray with as many --num-cpus as sites shall work at once")
        check_cluster(order.ray_address)
        has_gpus = wants_gpus(sources)
        return Capacity(None, "", gpus_each=1.0 if has_gpus else 0.0, ray_address=order.ray_address)
    gpus_mb = free_gpus_mb() if wants_gpus(sources) else None
    return choose_parallel(plan, len(sources) or PHANTOM_SITES, order.parallel, gpus_mb=gpus_mb)


def describe_data(order: Order) -> str:
    """Return where the scans come from, in full: it tells one simulation from another."""
    if order.partition is not None:
        return f"partition {order.partition.resolve()}"
    return "the embedded cohort" if order.cohort is None else f"cohort {order.cohort.resolve()}"
