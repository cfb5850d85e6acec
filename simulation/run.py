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
from braing3n.errors import ConfigError, OutputError, RunFailedError
from braing3n.files import replacing, write_text
from braing3n.plan import Plan, load_plan
from simulation.flower import run_on_flower
from simulation.progress import RunProgress
from simulation.sites import check_trainable, find_site_folders, write_site_files

PLANS = Path(__file__).parent / "plans"
AGES = (25.0, 40.0, 55.0, 70.0, 85.0)
DIAGNOSES = ("HC", "MCI", "AD")


def simulate(plan_path: Path, cohort: Path | None, out: Path, sweep: str, console: Console) -> Path:
    """Run a plan over a cohort on Flower's simulation runtime, and write the report.

    Args:
        plan_path: The plan's YAML.
        cohort: Folder with one BIDS folder a site; None makes the phantom in OUT/phantom.
        out: The run's folder; it must not exist, or be empty.
        sweep: Replacements in the plan.
        console: Where progress is shown.

    Returns:
        The report's path.

    Raises:
        BrainG3NError: Bad input, or a run that did not end well; `run.json` says how far it came.
    """
    plan = load_plan(plan_path, sweep)
    folders = find_site_folders(cohort) if cohort else {}
    if cohort and len(folders) < plan.min_sites:
        raise ConfigError("the cohort has too few sites", expected=f"{plan.min_sites} (min_sites)",
                          found=f"{len(folders)}: {', '.join(folders)}",
                          fix="add sites, or lower min_sites in the plan")
    check_trainable(folders)
    take_folder(out)
    if cohort is None:
        folders = find_site_folders(make_phantom(out / "phantom", plan, console))
    sites = write_site_files(folders, out)
    config = {"plan": str(plan_path.resolve()), "sites": str(sites.resolve()),
              "out": str(out.resolve()), "sweep": sweep}
    try:
        run_federation(out, plan, config, len(folders), console)
    except RunFailedError:
        write_what_there_is(out, console)
        raise
    return finish(out, plan, console)


def take_folder(out: Path) -> None:
    """Make `out`, or take it if it is empty.

    Raises:
        OutputError: Something is in it, or it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        inside = sorted(path.name for path in out.iterdir())
    except OSError as error:
        raise OutputError(f"{out} cannot be used", expected="a folder that can be written",
                          found=error.strerror or "an error", fix="choose another --out") from error
    if inside:
        raise OutputError(f"{out} is not empty", expected="a new or empty folder",
                          found=", ".join(inside[:5]), fix="choose another --out, or remove it")


def make_phantom(out: Path, plan: Plan, console: Console) -> Path:
    """Write the embedded cohort with the plan's seed, and say so."""
    from simulation.phantom import write_phantom  # noqa: PLC0415  # nilearn takes a second

    with counting(console, "making the embedded cohort") as show:
        return write_phantom(out, seed=plan.seed, progress=show)


def run_federation(
    out: Path, plan: Plan, config: dict[str, str], num_sites: int, console: Console
) -> None:
    """Run on Flower; where it fails, say what run.json knows of the reason.

    Raises:
        RunFailedError: The run did not end well. Flower's log is kept in OUT/flower.log.
    """
    # Ended by a service manager, this process ends what it started, as after Ctrl-C.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="braing3n-") as folder:
        try:
            with RunProgress(out, plan, console) as progress:
                run_on_flower(Path(folder), config, num_sites, progress.update)
        except RunFailedError as error:
            status = read_run(out).get("status", "")
            if status.startswith("failed"):
                raise RunFailedError("the run failed", expected="all stages, completed",
                                     found=status.removeprefix("failed: "),
                                     fix=f"look into {out / 'flower.log'} and {out}/sites/*/site.log"
                                     ) from error
            raise
        finally:
            signal.signal(signal.SIGTERM, previous)
            log = Path(folder) / "superlink" / "superlink.log"
            if log.exists():
                write_text(out / "flower.log", log.read_text(errors="replace"))
            _close_record(out)


def write_what_there_is(out: Path, console: Console) -> None:
    """Write the report of a run that failed, if it came so far as to have a record."""
    from braing3n.report.page import write_report  # noqa: PLC0415

    with contextlib.suppress(OutputError):  # the run's own failure is what the user must see
        console.print(f"report of what there is: {write_report(out)}", markup=False, soft_wrap=True)


def _close_record(out: Path) -> None:
    """Correct a run.json that says "running" of a run that was ended from outside."""
    record = read_run(out)
    if record.get("status") == "running":
        record["status"] = "failed: ended from outside before it was finished"
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
    from simulation.fidelity import measure_age_fidelity  # noqa: PLC0415

    record = read_run(out)
    parts = {part: load_weights(out / model["file"]) for part, model in record["models"].items()}
    sampler = open_sampler(plan, parts)
    with counting(console, "generating brains, to measure their ventricles by age") as show:
        fidelity = measure_age_fidelity(sampler, plan.seed, progress=show)
    record["generation"] = {f"age_ventricle_{key}": value for key, value in asdict(fidelity).items()}
    write_text(out / "run.json", json.dumps(record, indent=1) + "\n")
    with console.status("generating brains by age and diagnosis"):
        volumes = age_by_diagnosis(sampler, AGES, DIAGNOSES, plan.seed)
        with replacing(out / "generated.npz") as part:
            np.savez_compressed(part, allow_pickle=False, volumes=volumes, ages=np.array(AGES),
                                diagnoses=np.array(DIAGNOSES))


def read_run(out: Path) -> dict[str, Any]:
    """Return run.json, or nothing where the run did not come so far as to write it."""
    path = out / "run.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content
