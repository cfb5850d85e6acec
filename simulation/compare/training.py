"""Training and measuring the arms of a comparison, several at a time, each in a process of its own."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from pathlib import Path

from braing3n.config import load_site_config
from braing3n.data.site_data import SiteData, open_site_data
from braing3n.errors import RunFailedError
from braing3n.plan import Plan
from braing3n.presets import PRESETS
from braing3n.yaml_files import parse
from simulation.compare.arms import Arm, arm_folder
from simulation.compare.cohort import Sites, write_arm_sites
from simulation.compare.measure import measure_arm
from simulation.compare.measured import Measured, read_measured
from simulation.compare.workers import workers
from simulation.grid import run_locally

POLL_S = 1.0


def train_arms(plan: Path, sweep: str, arms: Sequence[Arm], sites: Sites, out: Path, parallel: int,
               on_poll: Callable[[], None]) -> None:
    """Train every arm that is not trained yet.

    Args:
        plan: The plan's YAML.
        sweep: Replacements in it, for all arms.
        arms: In the order in which they are begun.
        sites: Who is where.
        out: The comparison's folder; an arm's run is in `arms/NAME`.
        parallel: Arms at a time.
        on_poll: Called about once a second.

    Raises:
        RunFailedError: An arm did not complete; the others that had begun are finished first.
    """
    todo = [arm for arm in arms if not is_trained(arm_folder(out, arm))]
    for arm in todo:
        write_arm_sites(sites, arm.sites, arm_folder(out, arm) / "sites",
                        pooled=arm.kind == "pooled")
    with workers(parallel) as pool:
        jobs: dict[Future[None], Arm] = {
            pool.submit(_train, plan, f"{sweep} {arm.sweep}".strip(), arm_folder(out, arm)): arm
            for arm in todo}
        waiting = set(jobs)
        while waiting:
            done, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
            on_poll()
            failed = next((job for job in done if job.exception() is not None), None)
            if failed is not None:
                pool.shutdown(wait=True, cancel_futures=True)
                raise RunFailedError(
                    f"arm {jobs[failed].name} failed", expected="a finished run",
                    found=str(failed.exception()),
                    fix=f"look into the logs in {arm_folder(out, jobs[failed])}, mend it, and give "
                        "the same command again: what is trained is kept") from failed.exception()


def measure_arms(plan: Plan, arms: Sequence[Arm], sites: Path, out: Path, parallel: int,
                 progress: Callable[[int, int], None]) -> dict[Arm, Measured]:
    """Measure every arm that is not measured yet, and return all figures.

    Args:
        plan: The federation's plan.
        arms: All of them, trained.
        sites: Folder of settings, one a site, whose scans are cached.
        out: The comparison's folder.
        parallel: Arms at a time.
        progress: Called with (arms done, arms in all).
    """
    files = {arm: out / "measures" / f"{arm.name}.npz" for arm in arms}
    todo = [arm for arm in arms if not files[arm].exists()]
    with workers(parallel) as pool:
        jobs = [pool.submit(_measure, arm_folder(out, arm), plan.canonical(), sites, files[arm])
                for arm in todo]
        for number, job in enumerate(as_completed(jobs), start=len(arms) - len(todo) + 1):
            job.result()
            progress(number, len(arms))
    return {arm: read_measured(file) for arm, file in files.items()}


def open_sites_data(folder: Path, plan: Plan) -> dict[str, SiteData]:
    """Return all sites' data, by name."""
    configs = [load_site_config(path) for path in sorted(folder.glob("*.yaml"))]
    return {config.name: open_site_data(config, PRESETS[plan.preset]) for config in configs}


def is_trained(folder: Path) -> bool:
    """Return whether an arm's run is finished."""
    try:
        status = json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError):
        return False
    return str(status).startswith("completed")


def _measure(run: Path, plan: str, sites: Path, kept: Path) -> None:
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    parsed = parse(Plan, json.loads(plan), "the plan")
    measure_arm(run, parsed, open_sites_data(sites, parsed), kept)


def _train(plan: Path, sweep: str, out: Path) -> None:
    import torch  # noqa: PLC0415  # in the worker alone

    torch.set_num_threads(1)
    run_locally(plan, out / "sites", out, sweep=sweep)
