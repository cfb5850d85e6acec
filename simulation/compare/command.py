"""`braing3n sim compare`: each site alone, federated and pooled, side by side."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def compare(
    out: Annotated[
        Path, typer.Option(help="Folder to write to; an unfinished comparison in it goes on.")],
    plan: Annotated[
        Path | None, typer.Argument(help="The plan (YAML). Without it: the shipped plan `compare`.")
    ] = None,
    cohort: Annotated[
        Path | None, typer.Option(help="Folder with one BIDS folder a site. Without this and "
                                       "--partition: synthetic brains at eight sites.")] = None,
    partition: Annotated[
        Path | None, typer.Option(help="A folder that `braing3n sim partition --out` wrote.")] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="Replace values of the plan in all arms, as 'seed=3'.")
    ] = None,
    optimizer: Annotated[
        list[str] | None, typer.Option(help="One more federation, with this server optimiser: fedavg, "
                                            "fedavgm or fedadam.")] = None,
    leave_one_site_out: Annotated[
        bool, typer.Option(help="Also federations without each site, measured at that site.")] = False,
    drawn: Annotated[
        list[int] | None, typer.Option(min=1, help="One more federation, with so many sites drawn in "
                                                   "each round.")] = None,
    pooled_long: Annotated[
        bool, typer.Option(help="Also pooled training with as many small steps as all sites "
                                "take.")] = False,
    task: Annotated[
        list[str] | None, typer.Option(help="A probe by name. Without it: all that the cohort allows.")
    ] = None,
    tasks: Annotated[Path | None, typer.Option(help="A file of probes of your own.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.05, max=0.8, help="Share of each site's subjects that nobody "
                                                    "trains on.")
    ] = 0.3,
    harmonise: Annotated[
        bool, typer.Option(help="Also compare embeddings after harmonising sites.")] = True,
    parallel: Annotated[
        int | None, typer.Option(min=1, help="Arms that are trained at a time. Without "
                                                 "it: by cores.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print compare.json on stdout.")] = False,
) -> None:
    """Train a plan at each site alone, federated and pooled, and say plainly which won.

    All arms take the same number of optimiser steps from the same seed, and are measured on the
    same held-out subjects: linear probes of the frozen encoder, and the decoder's PSNR and SSIM.
    Stage 3 is not trained. Exit codes: 0 done, 2 misuse.
    """
    from simulation.compare.arms import Asked  # noqa: PLC0415  # keeps --help fast
    from simulation.compare.comparison import Setup  # noqa: PLC0415
    from simulation.compare.comparison import compare as run  # noqa: PLC0415
    from simulation.compare.given import check_out, choose_tasks, site_files  # noqa: PLC0415
    from simulation.compare.page import write_page  # noqa: PLC0415
    from simulation.run import PLANS  # noqa: PLC0415
    from simulation.running.parallel import available_cores  # noqa: PLC0415

    check_out(out)
    console = Console(stderr=True)
    path = plan or PLANS / "compare.yaml"
    chosen = choose_tasks(task or [], tasks)
    asked = Asked(tuple(optimizer or ()), leave_one_site_out, tuple(drawn or ()), pooled_long)
    replaced = " ".join(sweep or [])
    done = run(Setup(path, replaced, site_files(cohort, partition, out, path, replaced, console), out,
                     asked, chosen, held_out, harmonise, parallel or available_cores()), console)
    page = write_page(done, out)
    if as_json:
        typer.echo((out / "compare.json").read_text(), nl=False)
        return
    typer.echo("\n".join([*done.verdict, f"report: {page}"]))
