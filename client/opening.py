"""What a task needs before a site can work on it, and the report that it ends with."""

import resource
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil

import torch

from braing3n.data.site_data import SiteData, open_site_data
from braing3n.errors import PolicyError, ProtocolError
from braing3n.objectives import StageObjective, open_objective
from braing3n.plan import Part, Plan, StageName
from braing3n.presets import PRESETS
from braing3n.protocol import Reply, Task
from braing3n.weights import State, Vector, layout_digest, unpack
from client.site import Site, check_task

PROGRESS_EVERY_S = 1.0
# The frozen parts that each stage is trained on.
PARTS: Mapping[StageName, tuple[Part, ...]] = {
    "pretrain": (), "decoder": ("encoder",), "diffusion": ("encoder", "decoder", "statistics")}


@dataclass(frozen=True)
class Opened:
    """What every task on data needs: the checked plan, the site's data, the frozen parts."""

    plan: Plan
    data: SiteData
    frozen: dict[Part, State]


def open_task(
    site: Site, task: Task, began: float, needs: Collection[Part] | None = None,
) -> Opened | Reply:
    """Return what the task needs; where a frozen part is lacking, the report that says which.

    Args:
        site: The site.
        task: The task.
        began: When that was begun, by `time.monotonic`.
        needs: The frozen parts without which it cannot be done; None for those of its stage.

    Raises:
        ProtocolError: The task names fewer. Nothing was done yet, and nothing charged.
    """
    plan = check_task(task)
    unnamed = set(PARTS[task.stage] if needs is None else needs) - task.frozen.keys()
    if unnamed:
        raise ProtocolError("the task lacks frozen parts", expected="a digest of each that it needs",
                            found=f"none of {', '.join(sorted(unnamed))}", fix="ask the coordinator")
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


def open_weights(
    site: Site, task: Task, opened: Opened, vector: Vector | None
) -> tuple[StageObjective, State]:
    """Return the stage's objective with the task's weights in its network, and those weights.

    Raises:
        ProtocolError: They are for another network, or not there.
    """
    objective = open_objective(opened.plan, task.stage, opened.data, opened.frozen, site.device)
    like = objective.network.state_dict()
    if vector is None or task.layout != layout_digest(like):
        raise ProtocolError("the task's weights are for another network",
                            expected=layout_digest(like), found=str(task.layout),
                            fix="run the same preset and software version on both sides")
    weights = unpack(vector, like)
    objective.network.load_state_dict(weights)
    return objective, weights


def is_measured(plan: Plan, task: Task) -> bool:
    """Return whether the plan wants held-out metrics before this round."""
    return task.round_index % plan.stage(task.stage).measure_every == 0


def counted(site: Site, number: int) -> int:
    """Return a number of scans as the site lets it leave: exact, up to the next ten, or 0."""
    how = site.config.release.how("counts", with_dp=False)
    return {"exact": number, "bucketed": 10 * ceil(number / 10)}.get(how, 0)


def weight_of(site: Site, opened: Opened) -> int:
    """Return the weight of a site's answer where it is trained without DP.

    Raises:
        PolicyError: The site withholds its counts, and the plan has no number in their place.
    """
    number = counted(site, len(opened.data.train))
    if number:
        return number
    if opened.plan.budget is None:
        raise PolicyError("the site gives no counts", expected="a plan with `budget: num_subjects:`",
                          found="none", fix="allow `release: counts: bucketed`, or ask for such a plan")
    return opened.plan.budget.subjects_at(site.config.name)


def report(site: Site, task: Task, began: float, **what: object) -> Reply:
    """Return a reply to `task`, with the time and memory that it took.

    A site with a budget leaves both out, as they depend on how many subjects were drawn.

    Args:
        site: Who answers.
        task: What is answered.
        began: When that was begun, by `time.monotonic`.
        what: The rest of the reply.
    """
    hides_costs = site.config.budget is not None
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Reply(
        site=site.config.name, stage=task.stage, round_index=task.round_index,
        plan_digest=task.plan_digest, seconds=0.0 if hides_costs else time.monotonic() - began,
        peak_memory_mb=0.0 if hides_costs else memory,
        **what,  # type: ignore[arg-type]
    )


class Progress:
    """Writes the site's progress about once a second, and at the end of the round."""

    def __init__(self, site: Site, task: Task) -> None:
        self._site = site
        self._task = task
        self._last = 0.0

    def __call__(self, step: int, steps: int, loss: float) -> None:
        """Say how many steps are done, and the loss of the last."""
        now = time.monotonic()
        if step < steps and now - self._last < PROGRESS_EVERY_S:
            return
        self._last = now
        self._site.show_progress(
            stage=self._task.stage, round=self._task.round_index + 1, doing="training",
            done=step, total=steps, loss=loss,
        )
