"""`braing3n sim`: federations on one machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from simulation.cohorts.command import app as cohorts
from simulation.compare.command import compare
from simulation.partition.command import partition as split

app = typer.Typer(no_args_is_help=True, help="Simulate a federation on this machine.")
app.add_typer(cohorts, name="cohorts")
app.command("partition")(split)
app.command()(compare)

OUT = Annotated[Path, typer.Option(help="Folder to write to; it must be new or empty.")]


@app.command()
def run(
    out: Annotated[Path, typer.Option(
        help="Folder to write to: new, empty, or with the same simulation, which then goes on after "
             "its last finished round.")],
    plan: Annotated[
        Path | None, typer.Option(help="The plan (YAML). Without it: the shipped demo plan.")
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(help="Folder with one BIDS folder a site. Without it and --partition: an embedded "
                          "cohort of synthetic brains at four sites."),
    ] = None,
    partition: Annotated[
        Path | None, typer.Option(help="Folder that `braing3n sim partition --out` wrote.")] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="Replace values of the plan, as 'seed=3 stages.decoder.rounds=2'. May be "
                          "given several times."),
    ] = None,
    parallel: Annotated[int | None, typer.Option(
        min=1, help="Sites that work at once. Without it: what cores and memory hold.")] = None,
    ray_address: Annotated[str | None, typer.Option(
        metavar="HOST:PORT", help="Compute on the machines of this Ray cluster, which is left "
                                 "running (docs/simulation.md).")] = None,
    start: Annotated[Path | None, typer.Option(
        help="Folder that `braing3n sim warm-start` wrote, for plans whose stages start from phantom "
             "weights. Without it, they are trained first.")] = None,
    without_dp: Annotated[list[str] | None, typer.Option(
        metavar="SITE", help="A site that trains without differential privacy though the plan has a "
                             "budget. May be given several times.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print run.json on stdout.")] = False,
) -> None:
    """Train all three stages over simulated sites, and write a report to look at.

    Interrupted, the same command goes on. Exit codes: 0 done, 1 the run failed, 2 misuse.
    """
    from simulation.run import PLANS, read_run, simulate  # noqa: PLC0415
    from simulation.running.order import Order  # noqa: PLC0415  # keeps --help fast

    order = Order(plan or PLANS / "demo.yaml", " ".join(sweep or []), cohort, partition, parallel,
                  ray_address, tuple(without_dp or ()), start)
    report = simulate(order, out, Console(stderr=True))
    if as_json:
        typer.echo((out / "run.json").read_text(), nl=False)
        return
    typer.echo(f"{read_run(out)['status']}\nreport: {report}")


@app.command("warm-start")
def warm_start(
    out: Annotated[Path, typer.Option(help="Folder to write to; an interrupted one goes on.")],
    plan: Annotated[
        Path | None, typer.Option(help="The plan that is to start there. Without it: the shipped "
                                       "demo with differential privacy.")] = None,
    own: Annotated[
        Path | None, typer.Option(help="The plan of this training itself. Without it: the shipped "
                                       "warm-start.yaml.")] = None,
    subjects: Annotated[int, typer.Option(min=8, help="Synthetic subjects, over eight sites.")] = 240,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the people and scanners.")] = None,
) -> None:
    """Train weights to start from on synthetic brains, which costs no privacy.

    Give the folder to `braing3n sim run --start`. Exit codes: 0 done, 2 misuse.
    """
    from braing3n.counting import counting  # noqa: PLC0415
    from braing3n.plan import load_plan  # noqa: PLC0415
    from simulation.run import PLANS  # noqa: PLC0415
    from simulation.warm_start import PLAN, SEED, make_warm_start  # noqa: PLC0415

    console = Console(stderr=True)
    with counting(console, "making synthetic brains") as show:
        made = make_warm_start(
            out, load_plan(plan or PLANS / "demo-dp.yaml"), seed=SEED if seed is None else seed,
            subjects=subjects, own=own or PLAN, progress=show)
    typer.echo(f"{made}")


@app.command()
def phantom(
    out: OUT,
    sites: Annotated[int, typer.Option(help="How many hospitals.")] = 4,
    subjects: Annotated[int, typer.Option(help="How many subjects, over all hospitals.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.")] = 0,
    voxel_mm: Annotated[float, typer.Option(help="Edge of a voxel in mm, about.")] = 4.0,
) -> None:
    """Write the embedded cohort: synthetic brains whose true volumes are known."""
    from braing3n.counting import counting  # noqa: PLC0415
    from simulation.phantom.write import write_phantom  # noqa: PLC0415

    with counting(Console(stderr=True), "making brains") as show:
        folder = write_phantom(out, sites=sites, subjects=subjects, seed=seed, voxel_mm=voxel_mm,
                               progress=show)
    typer.echo(f"{folder}")
