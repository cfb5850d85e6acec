"""`braing3n sim`: federations on one machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from simulation.cohorts_cli import app as cohorts
from simulation.compare_cli import compare
from simulation.partition_cli import partition

app = typer.Typer(no_args_is_help=True, help="Simulate a federation on this machine.")
app.add_typer(cohorts, name="cohorts")
app.command()(partition)
app.command()(compare)

OUT = Annotated[Path, typer.Option(help="Folder to write to; it must be new or empty.")]


@app.command()
def run(
    out: OUT,
    plan: Annotated[
        Path | None, typer.Option(help="The plan (YAML). Without it: the shipped demo plan.")
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(help="Folder with one BIDS folder a site. Without it: an embedded cohort of "
                          "synthetic brains at four sites."),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="Replace values of the plan, as 'seed=3 stages.decoder.rounds=2'. May be "
                          "given several times."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print run.json on stdout.")] = False,
) -> None:
    """Train all three stages over simulated sites, and write a report to look at."""
    from simulation.run import PLANS, read_run, simulate  # noqa: PLC0415  # keeps --help fast

    console = Console(stderr=True)
    report = simulate(plan or PLANS / "demo.yaml", cohort, out, " ".join(sweep or []), console)
    content = read_run(out)
    if as_json:
        typer.echo((out / "run.json").read_text(), nl=False)
        return
    typer.echo(f"{content['status']}\nreport: {report}")


@app.command()
def phantom(
    out: OUT,
    sites: Annotated[int, typer.Option(help="Hospitals.")] = 4,
    subjects: Annotated[int, typer.Option(help="Subjects over all hospitals.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.")] = 0,
    voxel_mm: Annotated[float, typer.Option(help="Voxel edge in mm, about.")] = 4.0,
) -> None:
    """Write the embedded cohort: synthetic brains whose true volumes are known."""
    from braing3n.counting import counting  # noqa: PLC0415
    from simulation.phantom import write_phantom  # noqa: PLC0415

    with counting(Console(stderr=True), "making brains") as show:
        folder = write_phantom(out, sites=sites, subjects=subjects, seed=seed, voxel_mm=voxel_mm,
                               progress=show)
    typer.echo(f"{folder}")
