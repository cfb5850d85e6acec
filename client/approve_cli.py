"""`braing3n site approve`: a person looks at a plan, and decides whether the site works on it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from braing3n.plan import Plan


def approve(
    config: Annotated[Path, typer.Argument(help="The site's YAML file.")],
    plan: Annotated[str | None, typer.Argument(
        help="A plan (YAML), or the first digits of the digest of one that was asked for. Without it: "
             "what waits, and what was decided.")] = None,
    sweep: Annotated[list[str] | None, typer.Option(
        help="Values that the coordinator replaces in the plan, as it was told.")] = None,
    withdraw: Annotated[bool, typer.Option(
        "--withdraw", help="Decide against it: the site refuses it from the next task on.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Look at a plan and approve it, by its digest; a plan that was changed needs it anew.

    Exit codes: 0 done, 1 not approved, 2 misuse.
    """
    from braing3n.config import load_site_config  # noqa: PLC0415  # keeps --help fast
    from client import approval  # noqa: PLC0415

    settings = load_site_config(config)
    folder = settings.state_dir
    if plan is None:
        typer.echo(listed(folder, settings.plans.approve, as_json=as_json))
        return
    found = find(folder, plan, " ".join(sweep or []))
    typer.echo("\n".join(lines_of(found)), err=as_json)
    if not yes and not typer.confirm("Withdraw it?" if withdraw else "Let this site work on it?"):
        raise typer.Exit(1)
    made = approval.decide(folder, found, approves=not withdraw)
    typer.echo(json.dumps(vars(made)) if as_json else
               f"{'withdrawn' if withdraw else 'approved'}: {found.digest}")


def listed(state_dir: Path, how: str, *, as_json: bool) -> str:
    """Return what was decided and what waits, for people or for programs."""
    from client.approval import decisions, waiting  # noqa: PLC0415  # keeps --help fast

    decided, waits = decisions(state_dir), waiting(state_dir)
    if as_json:
        return json.dumps({
            "approve": how, "decided": [vars(one) for one in decided],
            "waiting": [json.loads(one.canonical()) | {"digest": one.digest} for one in waits]})
    return "\n".join([
        f"`plans: approve: {how}`",
        *(f"  {one.time}  {'approved ' if one.approves else 'withdrawn'}  {one.digest[:12]}  {one.name}"
          for one in decided),
        *(f"waits: {line}" if not place else line for one in waits
          for place, line in enumerate(lines_of(one))),
        *([] if waits else ["no plan waits"])])


def find(state_dir: Path, plan: str, sweep: str) -> "Plan":
    """Return a plan from a file, or one that was asked for or decided about, by its digest.

    Raises:
        ConfigError: There is none, or several.
    """
    from braing3n.errors import ConfigError  # noqa: PLC0415  # keeps --help fast
    from braing3n.plan import load_plan  # noqa: PLC0415
    from client.approval import kept  # noqa: PLC0415

    if Path(plan).is_file():
        return load_plan(Path(plan), sweep)
    known = [one for one in kept(state_dir) if one.digest.startswith(plan)]
    if len(known) != 1 or len(plan) < 8:
        raise ConfigError(f"there is no plan {plan}", found=f"{len(known)} such plans",
                          expected="a plan's file, or 8 digits or more of the digest of one that was "
                          "asked for", fix="run `braing3n site approve SITE.yaml` to see what waits")
    return known[0]


def lines_of(plan: "Plan") -> list[str]:
    """Return what a plan asks of a site, for people."""
    lines = [f"plan {plan.name}, preset {plan.preset}, digest {plan.digest}"]
    for name in plan.stage_names:
        stage = plan.stage(name)
        work = (f"{stage.local_steps} steps" if stage.local_steps is not None
                else f"{stage.local_epochs:g} epochs")
        privacy = ("no differential privacy" if stage.privacy is None else
                   f"noise multiplier {stage.privacy.noise_multiplier:g}, sample rate "
                   f"{stage.privacy.sample_rate:g}, for each {stage.privacy.unit}")
        lines.append(f"  {name}: {stage.rounds} rounds of {work}; {privacy}")
    if plan.probes:
        lines.append(f"  probes: {', '.join(plan.probes)}")
    lines.append("what it costs these patients: braing3n site budget plan")
    return lines
