"""What a site does when it is asked for a probe's sums: its own rules first, then the sums."""

import time
from collections.abc import Mapping

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from braing3n.data.people.further import open_further
from braing3n.errors import ProtocolError
from braing3n.evaluation.encoders import OwnEncoder, own_encoder
from braing3n.evaluation.fits.moments import Floats
from braing3n.evaluation.kept_features import kept_features
from braing3n.evaluation.probe_wire import Numbers
from braing3n.evaluation.roster import Roster, SiteVolumes, roster_of
from braing3n.evaluation.site_answers import (
    Answer,
    SiteTask,
    answer_scores,
    answer_sums,
    answer_terms,
)
from braing3n.evaluation.tasks import Task as ProbeTask
from braing3n.evaluation.tasks import probed_tasks
from braing3n.presets import PRESETS
from braing3n.probe_messages import MAX_EXCHANGES, ProbeOrder, ProbeReport, Refusal, TaskReport
from braing3n.protocol import Reply, Task
from braing3n.weights import Doubles
from client.charging import with_head
from client.opening import PROGRESS_EVERY_S, Opened, open_task, report
from client.site import Site, check_task


def probe(site: Site, task: Task, array: Doubles | None) -> tuple[Reply, Doubles | None]:
    """Return the sums that the site's own settings let leave, and the array of them.

    A task that the site does not take part in has a fixed word in its place. Where the encoder is
    lacking, the report says so and nothing else.

    Raises:
        ProtocolError: What is asked for is not whole, or not in the plan.
    """
    began = time.monotonic()
    order = task.probe
    if order is None or "encoder" not in task.frozen:
        raise ProtocolError("a probe cannot be answered", expected="an order, and an encoder",
                            found="less", fix="ask the coordinator")
    others = order.tasks.keys() - set(check_task(task).probes)
    if others:
        raise ProtocolError("the plan has no such probe", expected="the plan's `probes`",
                            found=", ".join(sorted(others)), fix="ask the coordinator")
    installed = probed_tasks(order.tasks)
    refusals = _refusals(site, task.run, order, installed)
    wanted = {name: own for name, own in installed.items() if name not in refusals}
    reports: dict[str, TaskReport] = {}
    numbers = np.zeros(0)
    if wanted:
        site.mark_without_dp(task)  # these sums are exact; a site with a budget gives none
        opened = open_task(site, task, began)
        if isinstance(opened, Reply):
            return opened, None
        with threadpool_limits(site.config.threads):
            reports, numbers = _answer(site, task, order, opened, wanted,
                                       np.zeros(0) if array is None else array)
    told = {name: reports.get(name) or TaskReport(refusal=refusals[name]) for name in order.tasks}
    reply = with_head(site, task.run,
                      report(site, task, began, probe=ProbeReport(tasks=told)))
    return reply, numbers if len(numbers) else None


def _refusals(site: Site, run: str, order: ProbeOrder,
              installed: Mapping[str, ProbeTask]) -> dict[str, Refusal]:
    """Return the tasks that the site takes no part in, each with the fixed word."""
    allowed = site.config.probe_methods
    refusals: dict[str, Refusal] = {
        name: "policy" if own.fitted_by not in allowed else "digest"
        for name, own in installed.items()
        if own.fitted_by not in allowed or own.digest != order.tasks[name]}
    if order.phase != "sums":
        counts = site.count_exchange(run, [name for name in order.tasks if name not in refusals])
        refusals |= {name: "policy" for name in order.tasks
                     if counts.get(name, 0) > MAX_EXCHANGES and name not in refusals}
    return refusals


def _answer(site: Site, task: Task, order: ProbeOrder, opened: Opened,
            wanted: Mapping[str, ProbeTask], array: Doubles) -> Answer:
    """Return what the site gives for the tasks that it takes part in."""
    roster = roster_of([SiteVolumes(site.config.name, opened.data, open_further(site.config.data))])
    features = _features(site, task, opened, roster)
    tasks = {}
    for name, own in wanted.items():
        known, to_fit = roster.labelled(roster.labels(own), features)
        tasks[name] = SiteTask(own, known.only(to_fit), known.only(~to_fit))
    numbers = Numbers(array)
    width = features.shape[1]
    if order.phase == "sums":
        answer = answer_sums(tasks)
    elif order.phase == "terms":
        answer = answer_terms(order, numbers, tasks, width)
    else:
        answer = answer_scores(order, numbers, tasks, width)
    numbers.end()
    return answer


def _features(site: Site, task: Task, opened: Opened, roster: Roster) -> Floats:
    """Return the features of all volumes, embedded once and kept; shows how far that is."""
    digest, last = task.frozen["encoder"], time.monotonic()
    rounds = opened.plan.stage(task.stage).rounds

    def show(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= PROGRESS_EVERY_S:
            last = time.monotonic()
            site.show_progress(stage=task.stage, round=rounds, doing="embedding for probes",
                               done=done, total=total)

    def encoder() -> OwnEncoder:
        return own_encoder("encoder", opened.frozen["encoder"], PRESETS[opened.plan.preset],
                           site.device, "the run's encoder")

    return kept_features(opened.data.shelf.cache, roster, digest, encoder, show)
