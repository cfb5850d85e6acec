"""`braing3n sim compare`: the same plan at each site alone, over sites, and pooled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from braing3n.counting import counting
from braing3n.errors import OutputError
from braing3n.evaluation.metrics import NUM_RESAMPLES
from braing3n.evaluation.tasks import Task
from braing3n.files import canonical_json, digest_bytes, write_text
from braing3n.plan import Plan, load_plan
from simulation.compare.arms import (
    FEDERATED,
    LOCAL,
    POOLED,
    SINGLE,
    UNSEEN,
    Arm,
    Asked,
    arm_folder,
    check_asked,
    choose_arms,
)
from simulation.compare.cohort import Sites, open_sites, write_arm_sites
from simulation.compare.contest import Contest, best_single, measure_decoder
from simulation.compare.harmonise import METHODS
from simulation.compare.measure import Measured, baseline_features
from simulation.compare.probing import measure_tasks
from simulation.compare.progress import ArmsProgress
from simulation.compare.results import Difference, Measure, Result, as_dict, differences_of, results_of
from simulation.compare.scans import Scans, scans_of
from simulation.compare.shift import DomainShift, domain_shift
from simulation.compare.training import measure_arms, open_sites_data, train_arms
from simulation.compare.verdict import verdict

_SETTINGS = "settings.json"


@dataclass(frozen=True)
class Setup:
    """What is compared, how, and where.

    Attributes:
        plan_path: The federation's plan (YAML).
        sweep: Replacements in it, for all arms.
        site_files: A settings file a site.
        out: Folder to write to.
        asked: Arms beside each site alone, federated and pooled.
        tasks: Probes by name.
        held_out: Share of each site's subjects that no arm trains on.
        is_harmonised: Whether embeddings are also compared after harmonising sites.
        parallel: Arms that are trained at a time.
    """

    plan_path: Path
    sweep: str
    site_files: Sequence[Path]
    out: Path
    asked: Asked
    tasks: Mapping[str, Task]
    held_out: float
    is_harmonised: bool
    parallel: int


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        plan: The federation's plan.
        arms: All of them, with the seconds that each took to train.
        mains: What is summed up: measures, each with its main metric.
        results: Every figure.
        differences: How far the federation is ahead of the others.
        verdict: A paragraph on all, then a sentence on each measure.
        left_out: Probes that this cohort does not allow, and why.
        notes: What is odd.
        shift: What differs between the sites.
    """

    plan: Plan
    arms: Mapping[Arm, float]
    mains: tuple[tuple[str, str], ...]
    results: tuple[Result, ...]
    differences: tuple[Difference, ...]
    verdict: tuple[str, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    shift: DomainShift

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "schema": 1, "plan": json.loads(self.plan.canonical()), "plan_digest": self.plan.digest,
            "interval": f"95 %, percentiles of {NUM_RESAMPLES} resamples of held-out subjects",
            "arms": [{"name": arm.name, "kind": arm.kind, "sites": list(arm.sites),
                      "sweep": arm.sweep, "seconds": round(seconds, 1)}
                     for arm, seconds in self.arms.items()],
            "verdict": list(self.verdict), "results": [as_dict(one) for one in self.results],
            "differences": [as_dict(one) for one in self.differences],
            "left_out": dict(self.left_out), "notes": list(self.notes),
            "domain_shift": [dict(zip(self.shift.header, row, strict=True))
                             for row in self.shift.rows],
        }


def compare(setup: Setup, console: Console) -> Comparison:
    """Train all arms, measure them on the same held-out subjects, and write compare.json.

    Arms that are trained already are not trained again.

    Raises:
        BrainG3NError: Bad input, or an arm that failed.
    """
    sweep = f"{setup.sweep} last_stage=decoder".strip()  # what no measure is about is not trained
    plan = load_plan(setup.plan_path, sweep)
    check_asked(setup.asked, len(setup.site_files))
    sites = open_sites(setup.site_files, setup.out, setup.held_out)
    arms = choose_arms(plan, sites.names, setup.asked)
    _remember_settings(setup.out, plan, sites)
    with ArmsProgress(setup.out, plan, arms, console) as progress:
        train_arms(setup.plan_path, sweep, arms, sites, setup.out, setup.parallel,
                   progress.update)
    folder = write_arm_sites(sites, sites.names, setup.out / "evaluation" / "sites", pooled=False)
    with console.status("reading all scans"):
        data = open_sites_data(folder, plan)
    scans = scans_of(data)
    with counting(console, "measuring arms") as show:
        figures = measure_arms(plan, arms, folder, setup.out, setup.parallel, show)
    baselines = baseline_features(plan, data)
    if setup.is_harmonised:
        baselines |= _harmonised(figures, scans)
    done = _judge(Contest(scans, figures, baselines, plan.seed), setup, plan,
                  domain_shift(sites, console), console)
    write_text(setup.out / "compare.json", json.dumps(done.as_dict(), indent=1) + "\n")
    return done


def _remember_settings(out: Path, plan: Plan, sites: Sites) -> None:
    """Check that what is in the folder is of the same plan, sites and split.

    Raises:
        OutputError: It is of others.
    """
    split = digest_bytes(canonical_json(dict(sites.split)))
    now = {"plan_digest": plan.digest, "sites": list(sites.names), "split_digest": split}
    path = out / _SETTINGS
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        differ = [key for key, value in now.items() if before.get(key) != value]
        if differ:
            raise OutputError(f"{out} holds another comparison", found=f"another {', '.join(differ)}",
                              expected="the same plan, sites and subjects",
                              fix="name another --out, or give the settings of then")
    write_text(path, json.dumps(now, indent=1) + "\n")


def _harmonised(figures: Mapping[Arm, Measured], scans: Scans) -> dict[str, NDArray[np.float32]]:
    """Return the harmonised embeddings of the federation and of pooled training."""
    return {f"{arm.name}, {method}": harmonise(measured.features, scans.sites, scans.is_test
                                               ).astype(np.float32)
            for arm, measured in figures.items() if arm.name in (FEDERATED, POOLED)
            for method, harmonise in METHODS.items()}


def _judge(contest: Contest, setup: Setup, plan: Plan, shift: DomainShift,
           console: Console) -> Comparison:
    """Fit the probes, and say who is ahead of whom."""
    same = contest.scans.same_as(setup.tasks)
    tasks = {name: task for name, task in setup.tasks.items() if name not in same}
    with counting(console, "probing") as show:
        probed, left_out = measure_tasks(tasks, contest, setup.parallel, show)
    left_out |= {name: f"the same as {other} on this cohort" for name, other in same.items()
                 if other not in left_out}
    results, differences, mains = list[Result](), list[Difference](), list[tuple[str, str]]()
    for measure in (measure_decoder(contest), *probed):
        found = results_of(measure, contest.seed)
        main = (measure.name, found[0].metric)
        if measure.name not in tasks or tasks[measure.name].variable != "site":
            mains.append(main)  # a model that tells sites apart is no better for it
        results += found
        differences += differences_of(measure, _pairs(measure, main[1]), contest.seed)
    notes = tuple(f"{one.measure}: {one.contestant} without {one.note}" for one in results if one.note)
    seconds = {arm: _seconds(arm_folder(setup.out, arm)) for arm in contest.arms}
    return Comparison(plan, seconds, tuple(mains), tuple(results), tuple(differences),
                      tuple(verdict(results, differences, mains)), left_out,
                      tuple(dict.fromkeys(notes)), shift)


def _pairs(measure: Measure, metric: str) -> list[tuple[str, str]]:
    """Return who is set against whom: the federation against all others of interest."""
    single = best_single(measure, metric)
    others = [POOLED, LOCAL, *([single] if single is not None else []), UNSEEN]
    rest = [name for name in measure.answers
            if name not in others and name != FEDERATED and not name.startswith(SINGLE)]
    return [(FEDERATED, other) for other in (*others, *rest)]


def _seconds(run: Path) -> float:
    stages = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
    return float(sum(stage["seconds"] for stage in stages))
