"""`braing3n sim run`: a plan and a cohort in, three models and a report out."""

import contextlib
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from braing3n.counting import counting
from braing3n.errors import OutputError, RunFailedError
from braing3n.evaluation.tasks import probed_tasks
from braing3n.files import replacing, write_text
from braing3n.plan import Plan, load_plan
from braing3n.service.processes import open_watchdog
from simulation.budgets import FEW_SUBJECTS, few_subjects
from simulation.running.costs import Memory, costs_table
from simulation.running.flower import home_of, log_of, run_on_flower
from simulation.running.order import (
    PHANTOM_SITES,
    Order,
    describe_data,
    find_capacity,
    find_sources,
    phantom_subjects,
)
from simulation.running.out_folder import forget_home, mark_finished, note_home, open_out
from simulation.running.parallel import Capacity
from simulation.running.progress import RunProgress
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

PLANS = Path(__file__).parent / "plans"
AGES = (25.0, 40.0, 55.0, 70.0, 85.0)
DIAGNOSES = ("HC", "MCI", "AD")


def simulate(order: Order, out: Path, console: Console) -> Path:
    """Run a plan over sites on Flower's simulation runtime, and write the report.

    Where `out` holds the same simulation, interrupted, only what is missing is done.

    Args:
        order: What is asked for.
        out: The run's folder; new, empty, or of the same simulation.
        console: Where progress is shown.

    Returns:
        The report's path.

    Raises:
        BrainG3NError: Bad input, or a run that did not end well; `run.json` says how far it came.
    """
    plan = load_plan(order.plan_path, order.sweep)
    probed_tasks(plan.probes)  # a task that there is not is told before anything is written
    sources = find_sources(order, plan)
    capacity = find_capacity(order, plan, sources)
    asked = {"plan_digest": plan.digest, "data": describe_data(order), "sites": sorted(sources),
             **({"without_dp": sorted(order.without_dp)} if order.without_dp else {})}
    with open_out(out, asked) as is_resumed:
        if not sources:
            if not (out / "phantom").exists():
                make_phantom(out / "phantom", plan, console)
            sources = find_site_folders(out / "phantom")
        sites = write_site_files(sources, out, plan, order.without_dp)
        start = open_start(order, plan, out, console)
        warn_of_few(plan, sites, console)
        if not str(read_run(out).get("status")).startswith("completed"):
            if is_resumed:
                _go_on(out, plan, console)
            config = {"plan": str(order.plan_path.resolve()), "sites": str(sites.resolve()),
                      "out": str(out.resolve()), "sweep": order.sweep,
                      "start": "" if start is None else str(start.resolve())}
            console.print(str(capacity), markup=False, highlight=False, soft_wrap=True)
            try:
                run_federation(out, plan, config, len(sources), capacity, console)
            except RunFailedError:
                write_what_there_is(out, console)
                raise
        report = finish(out, plan, console)
        mark_finished(out)
    console.print(costs_table(read_run(out)))
    return report


def _go_on(out: Path, plan: Plan, console: Console) -> None:
    """Say where an interrupted run goes on, if it has begun; it counts as running from now on.

    Raises:
        OutputError: It cannot be gone on with.
    """
    from server.resume import look_back  # noqa: PLC0415  # imports all of torch

    earlier = look_back(out, plan)
    if earlier is None:
        return
    stage, number = earlier.place
    console.print(f"going on with the run in {out} after round {number} of {stage}", markup=False,
                  highlight=False, soft_wrap=True)
    write_text(out / "run.json", json.dumps({**read_run(out), "status": "running"}, indent=1) + "\n")


def open_start(order: Order, plan: Plan, out: Path, console: Console) -> Path | None:
    """Return the folder of the weights that stages start from; phantom ones are trained if need be."""
    needed = [name for name in plan.stage_names if plan.stage(name).start == "phantom"]
    if order.start is not None or not needed:
        return order.start
    from simulation.warm_start import make_warm_start  # noqa: PLC0415  # imports all of torch

    with counting(console, f"making synthetic brains to start {', '.join(needed)} from") as show:
        return make_warm_start(out / "warm-start", plan, progress=show)


def warn_of_few(plan: Plan, sites: Path, console: Console) -> None:
    """Warn of sites whose patients are too few for DP training to do any good."""
    if plan.budget is None:
        return
    few = few_subjects(sites)
    if few:
        console.print(
            f"warning: fewer than {FEW_SUBJECTS} subjects to train on at {', '.join(few)}: at ε of 8 "
            "or less, training on so few under differential privacy rather harms than helps. Better "
            "take the phantom or a public encoder as it is (docs/privacy-budget.md).", markup=False,
            highlight=False, soft_wrap=True)


def make_phantom(out: Path, plan: Plan, console: Console) -> Path:
    """Write the embedded cohort with the plan's seed, and say so."""
    from simulation.phantom.write import write_phantom  # noqa: PLC0415  # nilearn takes a second

    with counting(console, "making the embedded cohort") as show:
        return write_phantom(out, sites=PHANTOM_SITES, subjects=phantom_subjects(plan),
                             seed=plan.seed, progress=show)


def run_federation(
    out: Path, plan: Plan, config: dict[str, str], num_sites: int, capacity: Capacity,
    console: Console,
) -> None:
    """Run on Flower; where it fails, say what run.json knows of the reason.

    Raises:
        RunFailedError: The run did not end well. Flower's log is kept in OUT/flower.log.
    """
    # Ended by a service manager, this process ends what it started, as after Ctrl-C.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with (tempfile.TemporaryDirectory(prefix="braing3n-", ignore_cleanup_errors=True) as name,
          open_watchdog(home_of(Path(name)), Path(name))):
        folder = Path(name)
        memory = Memory(home_of(folder))
        note_home(out, home_of(folder))
        try:
            with RunProgress(out, plan, console) as progress:
                def poll() -> bool:
                    is_over = progress.update()
                    memory.look(progress.stage)
                    return is_over

                run_on_flower(folder, config, num_sites, capacity, poll)
        except RunFailedError as error:
            raise _explained(out, error) from error
        finally:
            signal.signal(signal.SIGTERM, previous)
            log = log_of(folder)
            if log.exists():
                write_text(out / "flower.log", log.read_text(errors="replace"))
            forget_home(out)
            _close_record(out, memory, capacity)


def _explained(out: Path, error: RunFailedError) -> RunFailedError:
    """Return the coordinator's own account of a failure, if run.json has one."""
    status = str(read_run(out).get("status", ""))
    if not status.startswith("failed"):
        return error
    return RunFailedError("the run failed", expected="all stages, completed",
                          found=status.removeprefix("failed: "),
                          fix=f"look into {out / 'flower.log'} and {out}/sites/*/site.log; once that "
                              "is mended, the same command goes on with the run")


def write_what_there_is(out: Path, console: Console) -> None:
    """Write the report of a run that failed, if it came so far as to have a record."""
    from braing3n.report.page import write_report  # noqa: PLC0415

    with contextlib.suppress(OutputError):  # the run's own failure is what the user must see
        console.print(f"report of what there is: {write_report(out)}", markup=False, soft_wrap=True)


def _close_record(out: Path, memory: Memory, capacity: Capacity) -> None:
    """Add what the run took, and correct a "running" of a run that was ended from outside."""
    record = read_run(out)
    if not record:
        return
    if record["status"] == "running":
        record["status"] = "failed: ended from outside before it was finished"
    record["simulation"] = {"parallel": capacity.parallel, "peak_memory_mb": {
        stage: round(peak, 1) for stage, peak in memory.peaks_mb.items() if stage}}
    write_text(out / "run.json", json.dumps(record, indent=1) + "\n")


def finish(out: Path, plan: Plan, console: Console) -> Path:
    """Generate brains with the finished model where it has all stages, and write the report."""
    from braing3n.report.page import write_report  # noqa: PLC0415

    if "diffusion" in plan.stage_names:
        generate_brains(out, plan, console)
    with console.status("writing the report"):
        return write_report(out)


def generate_brains(out: Path, plan: Plan, console: Console) -> None:
    """Generate brains with the finished model, and write down how well their anatomy follows."""
    from braing3n.evaluation.generation import age_by_diagnosis, open_sampler  # noqa: PLC0415
    from braing3n.weights import load_weights  # noqa: PLC0415
    from simulation.phantom.fidelity import measure_age_fidelity  # noqa: PLC0415

    record = read_run(out)
    if "generation" not in record or not (out / "generated.npz").exists():
        parts = {part: load_weights(out / model["file"]) for part, model in record["models"].items()}
        sampler = open_sampler(plan, parts)
        with counting(console, "generating brains, to measure their ventricles by age") as show:
            fidelity = measure_age_fidelity(sampler, plan.seed, progress=show)
        with console.status("generating brains by age and diagnosis"):
            volumes = age_by_diagnosis(sampler, AGES, DIAGNOSES, plan.seed)
            with replacing(out / "generated.npz") as part:
                np.savez_compressed(part, allow_pickle=False, volumes=volumes, ages=np.array(AGES),
                                    diagnoses=np.array(DIAGNOSES))
        record["generation"] = {f"age_ventricle_{key}": value
                                for key, value in asdict(fidelity).items()}
        write_text(out / "run.json", json.dumps(record, indent=1) + "\n")


def read_run(out: Path) -> dict[str, Any]:
    """Return run.json, or nothing where the run did not come so far as to write it."""
    path = out / "run.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content
