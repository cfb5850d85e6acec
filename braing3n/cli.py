"""The one program, `braing3n`. Groups of other packages join by entry point."""

import io
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Literal

import typer

from braing3n.audit.cli import app as audit
from braing3n.errors import BrainG3NError, ConfigError
from braing3n.presets import PresetName
from braing3n.printable import printable

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_show_locals=False, add_completion=False,
    help="Train one 3D brain-MRI foundation model over many hospitals; scans stay where they are.",
)

app.add_typer(audit, name="audit")


@app.callback()
def braing3n() -> None:
    """Exit codes: 0 holds, 1 does not hold, 2 bad input, 3 refused by policy or budget."""


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a run (it holds run.json).")]) -> None:
    """Write a run's report.html again, from what is in its folder."""
    from braing3n.report.page import write_report  # noqa: PLC0415  # keeps --help fast

    typer.echo(f"report: {write_report(run)}")


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(help="A BIDS dataset, or any folder with NIfTI files.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures of every scan here.")] = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="List everything that is looked for, and stop.")] = False,
) -> None:
    """Look at every file of a folder: what is broken, what is odd, what may name a person.

    Exit codes: 0 clean or warnings only, 1 errors or privacy findings, 2 misuse.
    """
    from braing3n.preflight.command import run_check  # noqa: PLC0415  # keeps --help fast
    from braing3n.preflight.folder import check_folder  # noqa: PLC0415
    from braing3n.preflight.outcome import Wishes  # noqa: PLC0415
    from braing3n.preflight.output import rules_table  # noqa: PLC0415

    if rules:
        typer.echo(rules_table(), nl=False)
        return
    if folder is None or not folder.is_dir():
        is_file = folder is not None and folder.is_file()
        raise ConfigError("there is nothing to check", expected="a folder",
                          found="no argument" if folder is None else
                          f"{'a file' if is_file else 'nothing'} at {folder}",
                          fix=f"use `braing3n site check {folder}`, if that is a site's settings"
                          if is_file else "name one")
    raise typer.Exit(run_check(lambda shown: check_folder(folder, shown(Wishes())),
                               prints_json=as_json, html=html))


@app.command()
def probe(
    model: Annotated[list[Path] | None, typer.Option(
        help="Folder of a run; of a comparison, that of an arm: DIR/arms/federated.")] = None,
    encoder: Annotated[list[str] | None, typer.Option(
        help="NAME=FILE: medicalnet10, medicalnet18, medicalnet50, brainsegfounder, brainiac, or any "
             "name with a .safetensors file of ours.")] = None,
    site: Annotated[list[Path] | None, typer.Option(help="The settings of a site (YAML).")] = None,
    sites: Annotated[list[Path] | None, typer.Option(
        help="A folder of such files, one for each site.")] = None,
    task: Annotated[list[str] | None, typer.Option(
        help="A task by name, such as age. Without it: all that the labels allow.")] = None,
    tasks: Annotated[Path | None, typer.Option(
        help="A YAML file with tasks of your own.")] = None,
    preset: Annotated[PresetName | None, typer.Option(
        help="Size of the network in .safetensors files, where no --model is given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, resamples and fresh weights.")] = 0,
    cross_validate: Annotated[bool, typer.Option(
        "--cross-validate", help="Measure on everybody, in five folds of subjects.")] = False,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="What to compute on.")] = "cpu",
    out: Annotated[Path | None, typer.Option(
        help="Folder for probes.json, probes.tsv and probes.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Linear probes: what frozen encoders say of age, sex, diagnosis and more, side by side.

    Thumbnails and fresh weights are always among them; an encoder without its file has no number.
    --model, --encoder, --site, --sites and --task may be given several times. See docs/probes.md.

    Exit codes: 0, 2 misuse.
    """
    from braing3n.probing.command import Wishes, run_probe  # noqa: PLC0415  # keeps --help fast

    run_probe(Wishes(
        runs=model or (), encoders=encoder or (), sites=(*(site or ()), *(sites or ())),
        tasks=task or (), task_file=tasks, preset=preset, seed=seed,
        cross_validates=cross_validate, device=device, out=out, prints_json=as_json))


def main() -> None:
    """Run the program; every error that we know of ends in a message and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a locale may know fewer letters than names have
            stream.reconfigure(errors="backslashreplace")
    for group in entry_points(group="braing3n.commands"):
        app.add_typer(group.load(), name=group.name)
    try:
        app()
    except BrainG3NError as error:
        lines = [printable(line) for line in str(error).splitlines()]
        sys.stderr.write("\n".join(["error: " + lines[0], *lines[1:]]) + "\n")
        sys.exit(error.exit_code)
