"""`braing3n site budget show`: what a site's ledger says."""

from pathlib import Path
from typing import Annotated

import typer


def show(
    site: Annotated[Path, typer.Argument(help="The site's YAML file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Say what this site has spent of its budget, what is left, and what it refused by which rule.

    Of the site's file only the budget and the state folder are used: the scans
    need not be there. The whole ledger is verified first, and held to the
    receipts in the state folder; nothing is written, also while training goes on.

    Exit codes: 0; 1 the hospital has to decide, as the settings allow more than was
    signed, or have no budget any more; 2 misuse, or a ledger that does not hold.
    """
    # Imported here to keep --help fast.
    from client.ledger_view import describe_ledger, ledger_json, look_at_ledger  # noqa: PLC0415

    told = look_at_ledger(site)
    typer.echo(ledger_json(told) if as_json else describe_ledger(told))
    raise typer.Exit(1 if told["needs_decision"] else 0)
