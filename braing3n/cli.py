"""The one program, `braing3n`. Groups of other packages join by entry point."""

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from braing3n.errors import BrainG3NError

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_show_locals=False, add_completion=False,
    help="Train one 3D brain-MRI foundation model over many hospitals; scans stay where they are.",
)


@app.callback()
def braing3n() -> None:
    """Exit codes: 0 holds, 1 does not hold, 2 bad input, 3 refused by policy or budget."""


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a run (it holds run.json).")]) -> None:
    """Write a run's report.html again, from what is in its folder."""
    from braing3n.report.page import write_report  # noqa: PLC0415  # keeps --help fast

    typer.echo(f"report: {write_report(run)}")


def main() -> None:
    """Run the program; every error that we know of ends in a message and its exit code."""
    for group in entry_points(group="braing3n.commands"):
        app.add_typer(group.load(), name=group.name)
    try:
        app()
    except BrainG3NError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
