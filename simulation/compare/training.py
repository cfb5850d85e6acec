"""Training the arms of a comparison, several at a time, each in a process of its own."""

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from braing3n.errors import RunFailedError
from simulation.compare.arms import Arm, arm_folder
from simulation.compare.cohort import Sites, write_arm_sites
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
    spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(parallel, spawn) as workers:
        jobs: dict[Future[None], Arm] = {
            workers.submit(_train, plan, f"{sweep} {arm.sweep}".strip(), arm_folder(out, arm)): arm
            for arm in todo}
        waiting = set(jobs)
        while waiting:
            done, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
            on_poll()
            failed = next((job for job in done if job.exception() is not None), None)
            if failed is not None:
                workers.shutdown(wait=True, cancel_futures=True)
                raise RunFailedError(
                    f"arm {jobs[failed].name} failed", expected="a finished run",
                    found=str(failed.exception()),
                    fix=f"look into the logs in {arm_folder(out, jobs[failed])}, mend it, and give "
                        "the same command again: what is trained is kept") from failed.exception()


def is_trained(folder: Path) -> bool:
    """Return whether an arm's run is finished."""
    try:
        status = json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError):
        return False
    return str(status).startswith("completed")


def _train(plan: Path, sweep: str, out: Path) -> None:
    import torch  # noqa: PLC0415  # in the worker alone

    torch.set_num_threads(1)
    run_locally(plan, out / "sites", out, sweep=sweep)
