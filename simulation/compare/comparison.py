"""`braing3n sim compare`: the same plan at each site alone, over sites, and pooled."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from braing3n.counting import counting
from braing3n.evaluation.tasks import Task
from braing3n.files import write_text
from braing3n.plan import Plan, load_plan
from simulation.compare.about import about, sizes_of
from simulation.compare.arms import (
    FEDERATED,
    LOCAL,
    POOLED,
    SINGLE,
    UNSEEN,
    Arm,
    Asked,
    arm_folder,
    check_drawn,
    choose_arms,
)
from simulation.compare.cohort import Sites, open_sites, write_arm_sites
from simulation.compare.contest import Contest, best_single, measure_decoder
from simulation.compare.differences import adjust, differences_of
from simulation.compare.given import remember_settings
from simulation.compare.harmonise import METHODS
from simulation.compare.measure import baseline_features, scans_of
from simulation.compare.measured import RANDOM, THUMBNAILS, Measured
from simulation.compare.outcome import Comparison, DomainShift
from simulation.compare.probing import measure_tasks
from simulation.compare.progress import ArmsProgress
from simulation.compare.results import Main, Measure, results_of
from simulation.compare.scans import Scans
from simulation.compare.shift import domain_shift
from simulation.compare.training import measure_arms, open_sites_data, train_arms
from simulation.compare.verdict import verdict


@dataclass(frozen=True)
class Setup:
    """What is compared, how, and where.

    Attributes:
        plan_path: The federation's plan (YAML).
        sweep: Replacements in it, for all arms.
        source: Where the scans are from, in words.
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
    source: str
    site_files: Sequence[Path]
    out: Path
    asked: Asked
    tasks: Mapping[str, Task]
    held_out: float
    is_harmonised: bool
    parallel: int


def compare(setup: Setup, console: Console) -> Comparison:
    """Train all arms, measure them on the same held-out subjects, and write compare.json.

    Arms that are trained already are not trained again.

    Raises:
        BrainG3NError: Bad input, or an arm that failed.
    """
    # What no measure is about is not trained, nor what is measured here over all arms in one way.
    sweep = f"{setup.sweep} last_stage=decoder probes=[]".strip()
    plan = load_plan(setup.plan_path, sweep)
    check_drawn(setup.asked.drawn, len(setup.site_files))
    sites = open_sites(setup.site_files, setup.out, setup.held_out)
    arms = choose_arms(plan, sites.names, setup.asked)
    remember_settings(setup.out, plan, sites)
    with ArmsProgress(setup.out, plan, arms, console) as progress:
        progress.announce(setup.parallel)
        train_arms(setup.plan_path, sweep, arms, sites, setup.out, setup.parallel,
                   progress.update)
    contest = _measure(setup, plan, sites, arms, console)
    done = _judge(contest, setup, plan, domain_shift(sites, console), console)
    write_text(setup.out / "compare.json", json.dumps(done.as_dict(), indent=1) + "\n")
    return done


def _measure(setup: Setup, plan: Plan, sites: Sites, arms: Sequence[Arm],
             console: Console) -> Contest:
    """Have every arm's networks look at all scans."""
    folder = write_arm_sites(sites, sites.names, setup.out / "evaluation" / "sites", pooled=False)
    with console.status("reading all scans"):
        data = open_sites_data(folder, plan)
    scans = scans_of(data)
    with counting(console, "measuring arms") as show:
        figures = measure_arms(plan, arms, folder, setup.out, setup.parallel, show)
    baselines = baseline_features(plan, data)
    if setup.is_harmonised:
        baselines |= _harmonised(figures, scans)
    return Contest(scans, figures, baselines, plan.seed)


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
    measures = [measure_decoder(contest), *probed]
    results = [one for measure in measures for one in results_of(measure, contest.seed)]
    defined = {(one.measure, one.metric) for one in results
               if one.contestant == FEDERATED and one.site is None and one.value is not None}
    left_out |= {one.name: "its label goes with the site: nobody held out has another label than "
                           "everybody else at the site"
                 for one in measures if (one.name, one.main) not in defined}
    mains = [Main(one.name, one.main, one.told_by_site) for one in measures
             if (one.name, one.main) in defined
             and (one.name not in tasks or not tasks[one.name].is_of_the_scanner)]
    differences = adjust([one for measure in measures
                          for one in differences_of(measure, _pairs(measure), contest.seed)],
                         {(main.measure, main.metric) for main in mains})
    sizes = sizes_of(contest.scans)
    said = verdict(results, differences, mains, (THUMBNAILS, RANDOM), sum(size[3] for size in sizes))
    seconds = {arm: _seconds(arm_folder(setup.out, arm)) for arm in contest.arms}
    facts = about(setup.source, arm_folder(setup.out, next(iter(contest.arms))))
    return Comparison(plan, facts, sizes, seconds, tuple(mains), tuple(results), tuple(differences),
                      said, left_out, _notes(setup.out, seconds, measures), shift)


def _notes(out: Path, arms: Iterable[Arm], measures: Sequence[Measure]) -> tuple[str, ...]:
    """Return what single sites cannot do, and which arms in the folder are not compared."""
    lacking = [f"{measure.name}: {name} without {'; '.join(said.why_not)}" for measure in measures
               for name, said in measure.answers.items() if said.why_not]
    others = sorted({path.name for path in (out / "arms").iterdir()} - {arm.name for arm in arms})
    earlier = [f"{out / 'arms' / name} is of an earlier call that asked for more, and is not compared "
               "here" for name in others]
    return tuple(dict.fromkeys([*lacking, *earlier]))


def _pairs(measure: Measure) -> list[tuple[str, str]]:
    """Return who is set against whom: the federation against all others of interest."""
    single = best_single(measure)
    others = [POOLED, LOCAL, *([single] if single is not None else []), UNSEEN]
    rest = [name for name in measure.answers
            if name not in others and name != FEDERATED and not name.startswith(SINGLE)]
    return [(FEDERATED, other) for other in (*others, *rest)]


def _seconds(run: Path) -> float:
    stages = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
    return float(sum(stage["seconds"] for stage in stages))
