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
    a decision of the hospital, which auditors see with its date: of its
    data-protection officer or ethics board, not of its IT.

    Exit codes: 0 signed, or nothing to sign; 1 not signed; 2 misuse, or a ledger
    that does not hold.
    """
    # Imported here to keep --help fast.
    from braing3n.privacy.ledger import FILE_NAME  # noqa: PLC0415
    from braing3n.privacy.ledger_history import Decided  # noqa: PLC0415
    from client.budget_decision import decision_lines, limit_text, warning_lines  # noqa: PLC0415
    from client.own_ledger import own_ledger  # noqa: PLC0415
    from client.past import look_back  # noqa: PLC0415
    from client.settings import load_with_budget  # noqa: PLC0415
    from client.site import Site  # noqa: PLC0415
    from client.subjects import count_subjects  # noqa: PLC0415

    config, budget = load_with_budget(site)
    past, wanted = look_back(config), Decided(budget.epsilon, budget.delta)
    warnings = warning_lines(config, budget, past, count_subjects(site))
    if past.signed == wanted:
        typer.echo("\n".join([f"nothing to sign: {limit_text(wanted)} is what was signed last for "
                              f"cohort {budget.cohort}", *warnings]))
        return
    typer.echo("\n".join([f"cohort {budget.cohort} of {config.name}", *decision_lines(past, wanted),
                          *warnings]))
    if not yes and not typer.confirm("Has the hospital decided so?"):
        typer.echo("not signed")
        raise typer.Exit(1)
    with own_ledger(Site(config)) as ledger:
        entry = ledger.decide(budget.cohort, wanted)
    typer.echo(f"signed, as entry {entry.seq} of {config.state_dir / FILE_NAME}")
