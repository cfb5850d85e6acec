"""`braing3n site budget`: what a plan would cost a site in privacy, and how much noise it needs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from client.budget_page import as_json as json_of
from client.budget_page import cost_lines, plan_lines
from client.budget_show import show
from client.budget_sign import sign

app = typer.Typer(no_args_is_help=True,
                  help="What a site's privacy budget holds, and what a plan would cost.")

app.command()(show)
app.command()(sign)

PLAN = Annotated[Path, typer.Argument(help="The coordinator's plan (YAML).")]
DELTA = Annotated[float | None, typer.Option(
    help="At which epsilon is stated: below 0.01, and at most 1 over the number of subjects that are "
         "trained on. Without it: the site's, or else the plan's own.")]
SITE = Annotated[Path | None, typer.Option(
    help="The site's YAML file: its limits count, what it releases, what its ledger says was spent "
         "before, and how many patients it has.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.callback()
def budget() -> None:
    """What a site's privacy budget holds, and what a plan would cost."""


@app.command("plan")
def plan_noise(
    plan: PLAN,
    epsilon: Annotated[float | None, typer.Option(
        min=1e-3, help="The epsilon to plan for, all stages together. Without it: the site's, or else "
                       "the plan's own. Those limits count besides.")] = None,
    delta: DELTA = None, site: SITE = None, as_json: JSON = False,
) -> None:
    """Say what a plan costs, whether it fits, and the least noise with which it does.

    One row for each kind of release: updates, and what the site releases once
    or now and then with noise of its own (latent moments; metrics and counts,
    if the site's file has them `noised`). The least noise keeps every limit:
    the epsilon, each cap of the site, its min_noise_multiplier, and the plan's
    own budget; what decided is told.

    The epsilon that counts is that of PLD; RDP and PRV are computed in other
    ways, and RDP is never lower. A dash stands where there is no number.

    With --site, the ledger is verified and held to the site's receipts, and
    the patients to train on are counted, without reading a scan.

    Exit codes: 0 the plan fits as it is written; 1 it does not, or that cannot be
    told; 2 misuse, or a ledger that does not hold.
    """
    # Imported here to keep --help fast.
    from client.budget_answer import answer_plan  # noqa: PLC0415
    from client.budget_question import ask  # noqa: PLC0415

    asked = ask(plan, epsilon, delta, site)
    with Console(stderr=True).status("composing; this takes some seconds"):
        answer = answer_plan(asked)
    typer.echo(json_of(answer) if as_json else "\n".join(plan_lines(answer)))
    raise typer.Exit(0 if answer["fits"] else 1)


@app.command()
def cost(
    plan: PLAN,
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="How many rounds, such as 10.")],
    stage: Annotated[str | None, typer.Option(
        help="Of which stage: pretrain, decoder or diffusion. Without it: of each and of all.")] = None,
    delta: DELTA = None, site: SITE = None, as_json: JSON = False,
) -> None:
    """Say what so many rounds of a stage cost, with the noise that the plan gives it.

    Three numbers: these rounds alone; with what the site's ledger says was
    spent; and on top of the whole plan. All have to fit every limit. Moments and
    counts, which are released once a run, are in the third one only.

    Exit codes: 0 they fit; 1 they do not, or that cannot be told; 2 misuse, or a
    ledger that does not hold.
    """
    # Imported here to keep --help fast.
    from client.budget_answer import answer_cost  # noqa: PLC0415
    from client.budget_question import ask  # noqa: PLC0415

    answer = answer_cost(ask(plan, None, delta, site), stage, rounds)
    typer.echo(json_of(answer) if as_json else "\n".join(cost_lines(answer)))
    raise typer.Exit(0 if answer["fits"] else 1)
