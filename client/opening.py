"""What a task needs before a site can work on it, and the report that it ends with."""

import resource
import time
from dataclasses import dataclass

import torch

from braing3n.data.site_data import SiteData, open_site_data
from braing3n.plan import Part, Plan
from braing3n.presets import PRESETS
from braing3n.protocol import Reply, Task
from braing3n.weights import State
from client.site import Site, check_task

PROGRESS_EVERY_S = 1.0


@dataclass(frozen=True)
class Opened:
    """What every task on data needs: the checked plan, the site's data, the frozen parts."""

    plan: Plan
    data: SiteData
    frozen: dict[Part, State]


def open_task(site: Site, task: Task, began: float) -> Opened | Reply:
    """Return what the task needs; where a frozen part is lacking, the report that says which."""
    plan = check_task(task)
    frozen, missing = site.frozen(task.frozen)
    if missing:
        return report(site, task, began, missing=missing)
    torch.set_num_threads(site.config.threads)
    return Opened(plan, open_data(site, plan, task), frozen)


def open_data(site: Site, plan: Plan, task: Task) -> SiteData:
    """Open the site's data, and show how far that is."""
    number = min(task.round_index + 1, plan.stage(task.stage).rounds)  # the evaluation is the last's

    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last  # scans that are cached pass by faster than a file can be written for each
        if time.monotonic() - last >= PROGRESS_EVERY_S:
            last = time.monotonic()
            site.show_progress(stage=task.stage, round=number, doing="reading scans", done=done,
                               total=total)

    data = open_site_data(site.config, PRESETS[plan.preset], show)
    site.log_data([*(f"left out {scan.path}: {scan.reason}" for scan in data.skipped), *data.notes])
    return data


def report(site: Site, task: Task, began: float, **what: object) -> Reply:
    """Return a reply to `task`, with the time and memory that it took."""
    return Reply(
        site=site.config.name, stage=task.stage, round_index=task.round_index,
        plan_digest=task.plan_digest, seconds=time.monotonic() - began,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **what,  # type: ignore[arg-type]
    )
