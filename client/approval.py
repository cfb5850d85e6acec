"""Which plans a site works on: those that its IT approved by digest, or all within its limits."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from braing3n.budget import PlanRules
from braing3n.errors import OutputError, PlanError
from braing3n.files import append_text, cut_unfinished, whole_lines, write_text
from braing3n.moments import to_text, utc_now
from braing3n.plan import Plan
from client.site import Site

_APPROVED = "approved.jsonl"
_WAITING = "plans"
_MOST_WAITING = 20  # a coordinator that names plan after plan must not fill the disk


@dataclass(frozen=True)
class Decision:
    """What a person decided about a plan.

    Attributes:
        digest: The plan's.
        name: What the plan calls itself.
        approves: Whether the site may work on it from then on.
        time: When.
    """

    digest: str
    name: str
    approves: bool
    time: str


def check_plan(site: Site, plan: Plan) -> None:
    """Check that the site works on a plan; one that waits for a person is kept for him to look at.

    Raises:
        PlanError: It does not: the plan goes beyond the settings' limits, or nobody has approved it.
    """
    rules = site.config.plans
    _check_limits(rules, plan)
    if rules.approve == "auto" or is_approved(site.config.state_dir, plan.digest):
        return
    _keep(site.config.state_dir, plan)
    raise PlanError("nobody at this site has approved the plan", expected="an approval, or `plans: "
                    "approve: auto`", found=f"the plan {plan.name}, {plan.digest}",
                    fix=f"look at it, and run `braing3n site approve SITE.yaml {plan.digest[:12]}`")


def decisions(state_dir: Path) -> list[Decision]:
    """Return what was decided, in order; a line that was not finished says nothing.

    Raises:
        OutputError: The file is damaged.
    """
    path = state_dir / _APPROVED
    try:
        return [Decision(**json.loads(line)) for line in whole_lines(path)]
    except (ValueError, TypeError) as error:
        raise OutputError(f"{path} is damaged", expected="one decision a line", found="other content",
                          fix="remove it, and approve again what is still wanted") from error


def is_approved(state_dir: Path, digest: str) -> bool:
    """Tell whether the last decision on a plan approves it."""
    own = [one.approves for one in decisions(state_dir) if one.digest == digest]
    return bool(own) and own[-1]


def decide(state_dir: Path, plan: Plan, *, approves: bool) -> Decision:
    """Write down what a person decided, for good; a later decision takes the place of this one."""
    made = Decision(plan.digest, plan.name, approves, to_text(utc_now()))
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state_dir / _APPROVED
    cut_unfinished(path)  # a decision that was not finished was never made
    append_text(path, json.dumps(vars(made)) + "\n")
    return made


def kept(state_dir: Path) -> list[Plan]:
    """Return the plans that were asked for and not approved then, the newest first."""
    found = []
    for path in sorted((state_dir / _WAITING).glob("*.json"), key=lambda one: -one.stat().st_mtime):
        try:
            plan = Plan.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            continue  # of another version: it is asked for again, or not
        if plan.digest == path.stem:
            found.append(plan)
    return found


def waiting(state_dir: Path) -> list[Plan]:
    """Return those of them that nobody has decided about."""
    known = {one.digest for one in decisions(state_dir)}
    return [plan for plan in kept(state_dir) if plan.digest not in known]


def _keep(state_dir: Path, plan: Plan) -> None:
    folder = state_dir / _WAITING
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{plan.digest}.json"
    if not path.exists():
        write_text(path, plan.canonical())
    for old in sorted(folder.glob("*.json"), key=lambda one: -one.stat().st_mtime)[_MOST_WAITING:]:
        old.unlink(missing_ok=True)


def _check_limits(rules: PlanRules, plan: Plan) -> None:
    """Check a plan against the limits of the settings.

    Raises:
        PlanError: It goes beyond one.
    """
    stages = [plan.stage(name) for name in plan.stage_names]
    rounds = sum(stage.rounds for stage in stages)
    if rules.presets is not None and plan.preset not in rules.presets:
        raise _beyond("presets", ", ".join(rules.presets), plan.preset)
    for key, limit, found, what in (
        ("max_rounds", rules.max_rounds, rounds, "rounds in all"),
        ("max_local_steps", rules.max_local_steps,
         max(stage.local_steps or 0 for stage in stages), "steps in a round"),
        ("max_local_epochs", rules.max_local_epochs,
         max(stage.local_epochs or 0 for stage in stages), "epochs in a round"),
        ("max_batch_size", rules.max_batch_size,
         max(stage.batch_size for stage in stages), "volumes in a step"),
    ):
        if found > limit:
            raise _beyond(key, str(limit), f"{found} {what}")


def _beyond(key: str, limit: str, found: str) -> PlanError:
    return PlanError("the plan goes beyond this site's limits", expected=f"`plans: {key}:` {limit}",
                     found=found, fix="ask the coordinator, or allow more in the site's settings")
