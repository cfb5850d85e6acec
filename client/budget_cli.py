"""`braing3n site budget`: what a plan would cost a site in privacy, and how much noise it needs."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from client.budget_page import as_json as json_of
from client.budget_page import cost_lines, plan_lines, up
from client.budget_show import show

if TYPE_CHECKING:
    from braing3n.budget import BudgetConfig
    from braing3n.config import SiteConfig
    from braing3n.plan import Plan, StageName
    from braing3n.privacy.events import Event

app = typer.Typer(no_args_is_help=True,
                  help="What a site's privacy budget holds, and what a plan would cost.")

app.command()(show)

PLAN = Annotated[Path, typer.Argument(help="The coordinator's plan (YAML).")]
DELTA = Annotated[float | None, typer.Option(
    help="At which epsilon is stated. Without it: the site's, or else the plan's own.")]
SITE = Annotated[Path | None, typer.Option(
    help="The site's YAML file: its limits count, and what its ledger says was spent before.")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]

_MEANING = ("(epsilon, delta)-differential privacy for one patient of a site that is asked in every "
            "round")


@dataclass(frozen=True)
class _Question:
    """What is asked about: a plan, and how a site takes part in it.

    Attributes:
        plan: The plan.
        budget: The site's limits, if the site was named.
        target: The ε to stay within.
        delta: δ.
        stages: The stages that the site takes part in.
        moments: Whether it gives the latents' moments.
        before: What it spent on the cohort already.
        void: Why no ε holds, where none does.
    """

    plan: "Plan"
    budget: "BudgetConfig | None"
    target: float
    delta: float
    stages: "tuple[StageName, ...]"
    moments: bool
    before: "Sequence[Event]"
    void: str | None

    def asked_for(self) -> "list[Event]":
        """Return all that the plan asks of the site."""
        from braing3n.privacy.planning import planned_events  # noqa: PLC0415  # keeps --help fast

        return planned_events(self.plan, "planned", self.moments, stages=self.stages)


@app.callback()
def budget() -> None:
    """What a site's privacy budget holds, and what a plan would cost."""


@app.command("plan")
def plan_noise(
    plan: PLAN,
    epsilon: Annotated[float | None, typer.Option(
        min=1e-3, help="The epsilon to plan for, all stages together. Without it: the site's, or else "
                       "the plan's own.")] = None,
    delta: DELTA = None, site: SITE = None, as_json: JSON = False,
) -> None:
    """Find the noise with which a plan stays within an epsilon, over all of its stages together.

    Prints what the plan costs as it is written, and the lines to change. The
    epsilon that counts is that of PLD; RDP and PRV are computed in other ways,
    and RDP is never lower. A dash stands where there is no number.

    Exit codes: 0 the plan fits as it is written, 1 it does not, 2 misuse.
    """
    asked = _question(plan, epsilon, delta, site)
    with Console(stderr=True).status("composing; this takes some seconds"):
        answer = {"epsilon": asked.target, "delta": asked.delta, "meaning": _MEANING,
                  "num_spent_before": len(asked.before)} | _planned(asked)
    typer.echo(json_of(answer) if as_json else "\n".join(plan_lines(answer)))
    raise typer.Exit(0 if answer["fits"] else 1)


@app.command()
def cost(
    plan: PLAN,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds, such as 10.")],
    stage: Annotated[str | None, typer.Option(
        help="Of which stage: pretrain, decoder or diffusion. Without it: of each.")] = None,
    delta: DELTA = None, site: SITE = None, as_json: JSON = False,
) -> None:
    """Say what so many rounds of a stage cost, with the noise that the plan gives it.

    By themselves, on top of what the site's ledger says was spent, and on top
    of that and of all that the plan asks for. The second one has to fit.

    Exit codes: 0 they fit, 1 they do not, 2 misuse.
    """
    from braing3n.privacy.accountant import epsilon  # noqa: PLC0415  # keeps --help fast
    from braing3n.privacy.planning import rounds_of  # noqa: PLC0415

    asked = _question(plan, None, delta, site)
    rows: list[dict[str, Any]] = []
    for name in _named(asked, stage) if asked.void is None else ():
        events = rounds_of(asked.plan, name, rounds)
        rows.append({"stage": name, "steps": sum(event.steps for event in events)} | {
            key: epsilon([*others, *events], asked.delta) for key, others in (
                ("alone", ()), ("with_before", asked.before),
                ("after_plan", [*asked.before, *asked.asked_for()]))})
    reasons = [asked.void] if asked.void else [
        f"{rounds} rounds of {row['stage']} come to an epsilon of {up(row['with_before'])}, and "
        f"{asked.target:g} is allowed" for row in rows if row["with_before"] > asked.target]
    answer = {"epsilon": asked.target, "delta": asked.delta, "meaning": _MEANING, "rounds": rounds,
              "num_spent_before": len(asked.before), "stages": rows, "fits": not reasons,
              "reasons": reasons}
    typer.echo(json_of(answer) if as_json else "\n".join(cost_lines(answer)))
    raise typer.Exit(1 if reasons else 0)


def _question(path: Path, epsilon: float | None, delta: float | None, site: Path | None) -> _Question:
    """Read the files, and settle what counts where several say something."""
    from braing3n.config import load_site_config  # noqa: PLC0415  # keeps --help fast
    from braing3n.errors import ConfigError  # noqa: PLC0415
    from braing3n.plan import STAGE_NAMES, load_plan  # noqa: PLC0415
    from braing3n.privacy.accountant import check_delta  # noqa: PLC0415

    plan = load_plan(path)
    config = None if site is None else load_site_config(site)
    if plan.budget is None or not any(plan.stage(name).privacy for name in plan.stage_names):
        raise ConfigError(f"{path} has no differential privacy", expected="a stage with `privacy:`",
                          found="none in the stages that are run",
                          fix="add `privacy:` to each of them; any noise_multiplier will do to begin")
    if config is not None and config.budget is None:
        raise ConfigError(f"{site} has no budget", expected="`budget:` in the site's file",
                          found="none, so that the site trains without differential privacy",
                          fix="add one, or leave out --site")
    limits = plan.budget if config is None or config.budget is None else config.budget
    chosen = limits.delta if delta is None else delta
    check_delta(chosen, plan.budget.num_subjects if config is None
                else plan.budget.subjects_at(config.name))
    stages = STAGE_NAMES if config is None or config.budget is None else config.budget.stages
    before, void = _past(config)
    return _Question(
        plan, None if config is None else config.budget, epsilon or limits.epsilon, chosen, stages,
        config is None or config.release.how("moments", with_dp=True) == "noised", before,
        void or _void(plan, stages, None if config is None else config.budget))


def _past(config: "SiteConfig | None") -> "tuple[Sequence[Event], str | None]":
    """Return what the ledger says was spent, and why no ε holds any more, if it says that."""
    from braing3n.privacy.ledger import FILE_NAME, load_history  # noqa: PLC0415

    if config is None or config.budget is None or not (config.state_dir / FILE_NAME).exists():
        return (), None
    history = load_history(config.state_dir)
    without = history.without_dp(config.budget.cohort)
    return history.events(config.budget.cohort), (
        "the ledger says that these patients were trained on without differential privacy before"
        if without else None)


def _void(plan: "Plan", stages: "Iterable[StageName]", budget: "BudgetConfig | None") -> str | None:
    """Return why no ε holds for the plan: a stage without DP on the same patients."""
    without = [name for name in plan.stage_names if name in stages and (
        plan.stage(name).privacy is None or (budget is not None and name in budget.without_dp))]
    if not without:
        return None
    return (f"no epsilon holds: {' and '.join(without)} would be trained on the same patients without "
            "differential privacy")


def _named(asked: _Question, stage: str | None) -> "list[StageName]":
    from braing3n.errors import ConfigError  # noqa: PLC0415

    names = [name for name in asked.plan.stage_names if name in asked.stages]
    if stage is not None and stage not in names:
        raise ConfigError("there is no such stage", expected=" or ".join(names), found=stage,
                          fix="name one of them with --stage")
    return [name for name in names if stage in (None, name)]


def _planned(asked: _Question) -> dict[str, Any]:
    """Return what the plan costs as it is written, and the noise that it needs."""
    from braing3n.errors import BudgetError  # noqa: PLC0415  # keeps --help fast
    from braing3n.privacy import planning  # noqa: PLC0415
    from braing3n.privacy.accountant import spent  # noqa: PLC0415

    answer: dict[str, Any] = {"stages": [], **dict.fromkeys((
        "as_written", "noise_multiplier", "planned", "split_noise_multipliers", "cannot"))}
    if asked.void is not None:
        return answer | {"fits": False, "reasons": [asked.void]}
    plan, delta, before = asked.plan, asked.delta, asked.before
    events = asked.asked_for()
    answer["stages"] = [asdict(row) for row in planning.cost_table(
        plan, delta, before, moments=asked.moments, stages=asked.stages)]
    answer["as_written"] = asdict(spent([*before, *events], delta))
    try:
        noise = planning.plan_noise(plan, asked.target, delta, before, moments=asked.moments,
                                    stages=asked.stages)
        answer |= {"noise_multiplier": noise, "planned": asdict(spent(
            [*before, *planning.with_noise(events, noise)], delta))}
        answer["split_noise_multipliers"] = planning.split_noise(
            plan, asked.target, delta, moments=asked.moments, stages=asked.stages)
    except BudgetError as error:
        answer["cannot"] = f"{error.what}: {error.found}"
    reasons = _objections(asked, events, answer["as_written"]["pld"])
    return answer | {"fits": not reasons, "reasons": reasons}


def _objections(asked: _Question, events: "Sequence[Event]", as_written: float) -> list[str]:
    """Return why the plan does not fit as it is written; a site's own rules decide for the site."""
    from braing3n.privacy.accountant import epsilon  # noqa: PLC0415  # keeps --help fast

    reasons, limits = [], asked.plan.budget
    if asked.budget is not None:
        reasons += _refusals(asked, asked.budget, events)
    elif limits is not None and epsilon(events, limits.delta) > limits.epsilon:
        reasons.append(f"it costs more than the plan's own budget, an epsilon of {limits.epsilon:g} at "
                       f"delta {limits.delta:g}")
    if as_written > asked.target and not reasons:
        reasons.append(f"it costs more than an epsilon of {asked.target:g}")
    return reasons


def _refusals(asked: _Question, budget: "BudgetConfig", events: "Sequence[Event]") -> list[str]:
    """Return what the site would say if it were asked for each stage of the plan."""
    from braing3n.errors import PolicyError  # noqa: PLC0415  # keeps --help fast
    from braing3n.privacy.policy import Order, check_budget, check_order  # noqa: PLC0415

    said: dict[str, None] = {}  # each once, in their order
    for name in _named(asked, None):
        order = Order("planned", asked.plan, name, 0)
        for check in (partial(check_order, order, budget),
                      partial(check_budget, (), events, asked.before, order, budget)):
            try:
                check()
            except PolicyError as error:
                said[f"{error.what}: {error.found} instead of {error.expected}"] = None
    return list(said)
