"""`braing3n site budget sign`: a hospital's decision on its budget, signed into the ledger."""

from pathlib import Path
from typing import Annotated

import typer


def sign(
    site: Annotated[Path, typer.Argument(help="The site's YAML file, with the new `budget:`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Sign the budget of a site's settings into its ledger, after it was raised or delta changed.

    A site works within what was signed last. The first budget is signed by itself
    when the site first works; a stricter one needs no signature; anything else is
    a decision of the hospital, which auditors see with its date. Whoever signs
    should be allowed to decide for the hospital.

    Exit codes: 0 signed, or nothing to sign; 1 not signed; 2 misuse.
    """
    # Imported here to keep --help fast.
    from braing3n.errors import ConfigError  # noqa: PLC0415
    from braing3n.privacy.ledger import open_ledger  # noqa: PLC0415
    from braing3n.privacy.ledger_history import Decided  # noqa: PLC0415
    from client.past import look_back  # noqa: PLC0415
    from client.settings import load_settings  # noqa: PLC0415

    config = load_settings(site)
    if config.budget is None:
        raise ConfigError(f"{site} has no budget", expected="`budget:` with epsilon and delta",
                          found="none", fix="nothing needs to be signed: this site trains without "
                          "differential privacy")
    cohort, wanted = config.budget.cohort, Decided(config.budget.epsilon, config.budget.delta)
    past = look_back(config)
    signed = None if past.history is None else past.history.limit(cohort)
    if signed == wanted:
        typer.echo(f"nothing to sign: {_text(wanted)} is what was signed last for cohort {cohort}")
        return
    typer.echo(f"cohort {cohort} of {config.name}\n  signed last: "
               f"{'nothing' if signed is None else _text(signed)}\n  to sign:     {_text(wanted)}")
    if not yes and not typer.confirm("Has the hospital decided so?"):
        typer.echo("not signed")
        raise typer.Exit(1)
    with open_ledger(config.state_dir) as ledger:
        entry = ledger.decide(cohort, wanted)
    typer.echo(f"signed, as entry {entry.seq} of {config.state_dir / 'ledger.jsonl'}")


def _text(limit: "tuple[float, float]") -> str:
    return f"an epsilon of {limit[0]:g} at delta {limit[1]:g}"
