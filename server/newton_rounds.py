"""Probes that are fitted by Newton steps: all models of all tasks ask in one exchange a step."""

from collections.abc import Mapping, Sequence

import numpy as np

from braing3n.evaluation.fits.moments import Floats
from braing3n.evaluation.fits.newton import Terms, sum_terms
from braing3n.evaluation.fits.newton_problems import (
    Lockstep,
    Problem,
    choose,
    cox_problems,
    logistic_problems,
)
from braing3n.evaluation.probe_wire import Numbers, joined, size_of_terms, unpack_terms
from braing3n.evaluation.site_statistics import EVERYBODY
from braing3n.probe_messages import (
    MAX_EXCHANGES,
    MAX_MODELS,
    MAX_NUMBERS,
    ModelOrder,
    ProbeOrder,
    ProbeReport,
)
from server.probe_asking import Asking
from server.task_probe import DIVERGED, TaskProbe

# A task and the place of one of its problems.
Key = tuple[str, int]


def fit_by_steps(asking: Asking, probes: Mapping[str, TaskProbe]) -> None:
    """Fit every task that is fitted by steps, or say why it is not.

    Where a site is lost on the way, its tasks begin anew without it: their sums are others then.
    """
    while waiting := {name: probe for name, probe in probes.items()
                      if probe.reason is None and probe.chosen is None}:
        group = _group(waiting)
        if group:
            _Steps(asking, group).run()
            for probe in group.values():
                probe.settle()


def _group(waiting: Mapping[str, TaskProbe]) -> dict[str, TaskProbe]:
    """Return as many tasks as one message has room for; a task that has no room alone says so."""
    group: dict[str, TaskProbe] = {}
    models = size = 0
    for name, probe in waiting.items():
        problems = _problems(probe)
        own = sum(size_of_terms(len(one.penalties), has_derivatives=True) for one in problems)
        if len(problems) > MAX_MODELS or own > MAX_NUMBERS:
            probe.reason = "its models are more than one message carries"
            continue
        models, size = models + len(problems), size + own
        if models > MAX_MODELS or size > MAX_NUMBERS:
            break
        group[name] = probe
    return group


def _problems(probe: TaskProbe) -> list[Problem]:
    with np.errstate(all="ignore"):
        if probe.task.kind == "survival":
            return cox_problems([fold[EVERYBODY] for fold in probe.folds()], probe.events_by_fold())
        return logistic_problems(probe.folds(), probe.classes)


class _Steps:
    """One group of tasks, from the first step to the fits, or until a site is lost."""

    def __init__(self, asking: Asking, probes: Mapping[str, TaskProbe]) -> None:
        self._asking = asking
        self._probes = probes
        self._problems = {(name, place): problem for name, probe in probes.items()
                          for place, problem in enumerate(_problems(probe))}
        self._folds = {name: {site: probe.fold_of(site) for site in probe.sites}
                       for name, probe in probes.items()}

    def run(self) -> None:
        """Fit all tasks; return early, without fits, where a site was lost."""
        lockstep = Lockstep({key: problem.penalties for key, problem in self._problems.items()})
        while lockstep.asked:
            terms = self._exchange(lockstep.asked, wants_losses=False)
            if terms is None:
                return
            with np.errstate(all="ignore"):
                lockstep.take(terms)
        for name, _ in lockstep.failed:
            self._probes[name].reason = DIVERGED
        left_out = {key: found for key, found in lockstep.found.items()
                    if self._problems[key].left_out is not None
                    and self._probes[key[0]].reason is None}
        losses = self._exchange(left_out, wants_losses=True) if left_out else {}
        if losses is None:
            return
        for name, probe in self._probes.items():
            if probe.reason is None:
                keys = [key for key in self._problems if key[0] == name]
                probe.keep(choose([self._problems[key] for key in keys],
                                  [lockstep.found[key] for key in keys],
                                  {key[1]: losses[key].loss for key in keys if key in losses}))

    def _exchange(self, asked: Mapping[Key, Floats], *, wants_losses: bool) -> dict[Key, Terms] | None:
        """Return the sites' sums at the coefficients; None where a site was lost, which is dropped.

        Args:
            asked: Coefficients by model.
            wants_losses: Whether sites that a model leaves out give its loss; else those that it is
                fitted on give terms.
        """
        sites = sorted({site for name in {name for name, _ in asked} for site in self._folds[name]})
        concerned = {site: [key for key in asked if self._concerns(key, site, wants_losses)]
                     for site in sites}
        concerned = {site: keys for site, keys in concerned.items() if keys}
        for name in {name for name, _ in asked}:
            self._probes[name].exchanges += 1
            if self._probes[name].exchanges >= MAX_EXCHANGES:
                self._probes[name].reason = "its fit takes more exchanges than sites allow"
                return None

        def read(site: str, report: ProbeReport, numbers: Numbers) -> dict[Key, Terms]:
            return {key: unpack_terms(len(asked[key]), numbers, has_derivatives=not wants_losses)
                    for key in concerned[site] if report.tasks[key[0]].refusal is None}

        answers, refused = self._asking.ask(
            {site: self._order(keys, asked, wants_losses) for site, keys in concerned.items()}, read)
        lost = self._drop(concerned, answers, refused)
        if lost:
            return None
        return {key: sum_terms(answers[site][key] for site in sorted(answers)
                               if key in answers[site]) for key in asked}

    def _concerns(self, key: Key, site: str, wants_losses: bool) -> bool:
        fold = self._folds[key[0]].get(site)
        return fold is not None and (fold == self._problems[key].left_out) == wants_losses

    def _order(self, keys: Sequence[Key], asked: Mapping[Key, Floats],
               wants_losses: bool) -> tuple[ProbeOrder, Floats]:
        frames: dict[tuple[str, int | None], Problem] = {}
        models = []
        for key in keys:
            problem = self._problems[key]
            frames.setdefault((key[0], problem.left_out), problem)
            models.append(ModelOrder(
                task=key[0], class_name=problem.class_name, inside=problem.inside,
                frame=list(frames).index((key[0], problem.left_out)), outside=problem.outside,
                wants="loss" if wants_losses else "derivatives"))
        probes = {name: self._probes[name] for name in dict.fromkeys(key[0] for key in keys)}
        order = ProbeOrder(
            phase="terms", num_frames=len(frames), models=tuple(models),
            tasks={name: probe.task.digest for name, probe in probes.items()},
            classes={name: probe.classes for name, probe in probes.items() if probe.classes})
        array = joined([part for frame in frames.values() for part in (frame.centre, frame.scales)]
                       + [asked[key] for key in keys])
        return order, array

    def _drop(self, concerned: Mapping[str, Sequence[Key]],
              answers: Mapping[str, Mapping[Key, Terms]], refused: Mapping[str, str]) -> bool:
        """Go on without the sites that did not give what was asked; tell whether there are any."""
        lost = False
        for site, keys in concerned.items():
            for name in {key[0] for key in keys if key not in answers.get(site, {})}:
                lost = True
                self._probes[name].drop(site, refused.get(site, "policy"))
        return lost
