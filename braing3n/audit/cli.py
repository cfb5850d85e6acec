"""`braing3n audit`: check what sites say of privacy, from files alone."""

from pathlib import Path
from typing import Annotated

import typer

from braing3n.audit.empirical.cli import empirical

app = typer.Typer(no_args_is_help=True, help="Check what sites say of privacy, from files alone.")

LEDGERS = Annotated[list[Path], typer.Argument(help="ledger.jsonl of one or several sites.")]
KEYS = Annotated[list[Path] | None, typer.Option(
    "--pubkey", help="A ledger's public key, as the hospital gave it to you. Without it: the "
                     "ledger.pub beside the ledger. May be given several times.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.callback()
def audit() -> None:
    """Check what sites say of privacy, from files alone.

    Exit codes: 0 it holds, 1 it does not, 2 something cannot be read, or misuse.
    """


app.command()(empirical)


@app.command()
def verify(
    ledgers: LEDGERS,
    receipts: Annotated[list[Path] | None, typer.Option(
        help="receipts.jsonl: the coordinator's, and those that sites have kept. Without any, a ledger "
             "that was cut at its end looks whole. May be given several times.")] = None,
    pubkey: KEYS = None, as_json: JSON = False,
) -> None:
    """Check every signature, the order and the rules of ledgers, and hold them to receipts.

    Exit codes: 0 all holds, 1 something does not, 2 a file cannot be read, or misuse.
    """
    import json  # noqa: PLC0415  # keeps --help fast

    from braing3n.audit.output import verified_json, verified_lines  # noqa: PLC0415
    from braing3n.audit.verify import verify as check  # noqa: PLC0415

    verified = check(ledgers, receipts or (), pubkey or ())
    typer.echo(json.dumps(verified_json(verified)) if as_json else "\n".join(verified_lines(verified)))
    raise typer.Exit(0 if verified.holds else 1)


@app.command()
def recompute(
    ledgers: LEDGERS,
    delta: Annotated[float | None, typer.Option(
        min=1e-12, max=0.1, help="At which epsilon is told. Without it: as each site claims.")] = None,
    as_json: JSON = False,
) -> None:
    """Rebuild epsilon from what ledgers list of noise, sample rates and steps, and compare the claims.

    Signatures are not looked at here; `braing3n audit verify` does that.

    Exit codes: 0 every claim holds, 1 one is too low, 2 an entry lacks a number, or misuse.
    """
    import json  # noqa: PLC0415  # keeps --help fast

    from braing3n.audit.account import accounts_of  # noqa: PLC0415
    from braing3n.audit.output import recomputed_json, recomputed_lines  # noqa: PLC0415

    found = {str(path): accounts_of(path, delta) for path in ledgers}
    if as_json:
        typer.echo(json.dumps({"ledgers": [recomputed_json(*item) for item in found.items()]}))
    else:
        typer.echo("\n".join(line for item in found.items() for line in recomputed_lines(*item)))
    raise typer.Exit(1 if any(one.is_understated for own in found.values() for one in own) else 0)


@app.command()
def report(
    paths: Annotated[list[Path], typer.Argument(
        metavar="RUN|LEDGERS...", help="A run's folder (it holds run.json), ledger.jsonl of its sites, "
                                       "or both. Ledgers and receipts in the folder are found.")],
    out: Annotated[Path, typer.Option(help="report.html, report.pdf or report.json: the ending says "
                                           "what is written.")],
    receipts: Annotated[list[Path] | None, typer.Option(
        help="receipts.jsonl that are not in the run's folder. May be given several times.")] = None,
    pubkey: KEYS = None,
    empirical: Annotated[list[Path] | None, typer.Option(
        help="What `braing3n audit empirical --json` answered. May be given several times.")] = None,
) -> None:
    """Write one document for an ethics board: what a patient of each site is promised, and why.

    Exit codes: 0 all holds, 1 something does not (the report says what), 2 a file cannot be read, or
    misuse.
    """
    from braing3n.audit.report.command import write_audit_report  # noqa: PLC0415  # keeps --help fast

    written = write_audit_report(paths, out, receipts or (), pubkey or (), empirical or ())
    typer.echo(f"report: {out}")
    typer.echo("holds" if written.holds else
               f"does not hold: {written.num_findings} findings, which the report lists")
    raise typer.Exit(0 if written.holds else 1)
