"""`braing3n sim compare`: each site alone, federated and pooled, side by side."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

OUT = Annotated[
    Path, typer.Option(help="Folder to write to; an unfinished comparison in it goes on.")]
PLAN = Annotated[
    Path | None, typer.Argument(help="The plan (YAML). Without it: the shipped plan `compare`.")]
COHORT = Annotated[
    Path | None, typer.Option(help="Folder with one BIDS folder a site. Without this and --partition: "
                                   "synthetic brains at eight sites.")]
PARTITION = Annotated[
    Path | None, typer.Option(help="A folder that `braing3n sim partition --out` wrote.")]
SWEEP = Annotated[
    list[str] | None, typer.Option(help="Replace values of the plan in all arms, as 'seed=3'.")]
OPTIMIZER = Annotated[
    list[str] | None, typer.Option(help="One more federation, with this server optimiser: fedavg, "
                                        "fedavgm or fedadam.")]
LEAVE_ONE_SITE_OUT = Annotated[
    bool, typer.Option(help="Also federations without each site, measured at that site.")]
DRAWN = Annotated[
    list[int] | None, typer.Option(min=1, help="One more federation, with so many sites drawn in each "
                                               "round.")]
POOLED_LONG = Annotated[
    bool, typer.Option(help="Also pooled training with as many small steps as all sites take.")]
TASK = Annotated[
    list[str] | None, typer.Option(help="A probe by name. Without it: all that the cohort allows.")]
TASKS = Annotated[Path | None, typer.Option(help="A file of probes of your own.")]
HELD_OUT = Annotated[
    float, typer.Option(min=0.05, max=0.8, help="Share of each site's subjects that nobody trains "
                                                "on.")]
HARMONISE = Annotated[
    bool, typer.Option(help="Also compare embeddings after harmonising sites.")]
PARALLEL = Annotated[
    int | None, typer.Option(min=1, help="Arms that are trained at a time. Without it: by cores.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print compare.json on stdout.")]


def compare(
    out: OUT, plan: PLAN = None, cohort: COHORT = None, partition: PARTITION = None,
    sweep: SWEEP = None, optimizer: OPTIMIZER = None, leave_one_site_out: LEAVE_ONE_SITE_OUT = False,
    drawn: DRAWN = None, pooled_long: POOLED_LONG = False, task: TASK = None, tasks: TASKS = None,
    held_out: HELD_OUT = 0.3, harmonise: HARMONISE = True, parallel: PARALLEL = None,
    as_json: AS_JSON = False,
) -> None:
    """Train a plan at each site alone, federated and pooled, and say plainly which won.

    All arms take the same number of optimiser steps from the same seed, and are measured on the
    same held-out subjects: linear probes of the frozen encoder, and the decoder's PSNR and SSIM.
    Stage 3 is not trained. Exit codes: 0 done, 2 misuse.
    """
    from braing3n.files import alone_in  # noqa: PLC0415  # keeps --help fast
    from simulation.compare import given  # noqa: PLC0415
    from simulation.compare.arms import Asked, check_optimizers  # noqa: PLC0415
    from simulation.compare.comparison import Setup  # noqa: PLC0415
    from simulation.compare.comparison import compare as run  # noqa: PLC0415
    from simulation.compare.page import write_page  # noqa: PLC0415
    from simulation.running.parallel import available_cores  # noqa: PLC0415

    given.check_out(out)
    check_optimizers(optimizer or [])
    chosen = given.choose_tasks(task or [], tasks)
    asked = Asked(tuple(optimizer or ()), leave_one_site_out, tuple(drawn or ()), pooled_long)
    console, path, replaced = Console(stderr=True), plan or given.PLAN, " ".join(sweep or [])
    try:
        with alone_in(out, ".compare.lock", "comparison"):
            files = given.site_files(cohort, partition, out, path, replaced, console)
            done = run(Setup(path, replaced, given.source_of(cohort, partition), files, out, asked,
                             chosen, held_out, harmonise, parallel or available_cores()), console)
            page = write_page(done, out)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from the last finished rounds", err=True)
        raise typer.Exit(130) from None
    typer.echo((out / "compare.json").read_text() if as_json
               else "\n".join([*done.verdict.lines, f"report: {page}"]), nl=not as_json)
