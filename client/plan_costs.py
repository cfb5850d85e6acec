"""What a plan costs a site, row by row, and what adding up the rows would waste."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from braing3n.errors import BudgetError
from braing3n.plan import STAGE_NAMES, Plan, StageName
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.events import Event
from braing3n.privacy.ledger_entry import What
from braing3n.privacy.planning import (
    BY_DEFAULT,
    Limit,
    least_noise,
    planned_events,
    planned_releases,
)


@dataclass(frozen=True)
class ReleaseCost:
    """What one kind of release costs in one stage, at a site that is asked in all of its rounds.

    Attributes:
        stage: The stage.
        what: What is released.
        sample_rate: q; 1 for what is released once.
        noise_multiplier: σ.
        times: How often it is released.
        steps: Its noised sums: steps of DP-SGD over all rounds, or as many as `times`.
        alone: ε of these releases by themselves.
        so_far: ε of all rows up to this one, with what was spent before.
    """

    stage: StageName
    what: What
    sample_rate: float
    noise_multiplier: float
    times: int
    steps: int
    alone: float
    so_far: float


def cost_table(
    plan: Plan, delta: float, spent_before: Sequence[Event] = (), *,
    releases: Collection[What] = BY_DEFAULT, stages: Sequence[StageName] = STAGE_NAMES,
) -> list[ReleaseCost]:
    """Return one row for each kind of release in each stage, in the order in which they begin."""
    planned = planned_releases(plan, "planned", releases, stages=stages)
    rows: list[ReleaseCost] = []
    so_far = list(spent_before)
    for stage, what in dict.fromkeys((event.stage, what) for what, event in planned):
        own = [event for other, event in planned if (event.stage, other) == (stage, what)]
        so_far += own
        rows.append(ReleaseCost(
            stage, what, own[0].sample_rate, own[0].noise_multiplier, len(own),
            sum(event.steps for event in own), epsilon(own, delta), epsilon(so_far, delta)))
    return rows


def split_noise(
    plan: Plan, target_epsilon: float, delta: float, *, releases: Collection[What] = BY_DEFAULT,
    stages: Sequence[StageName] = STAGE_NAMES,
) -> dict[StageName, float | None]:
    """Return the σ that every stage would need if each got an equal share of ε and δ.

    It is None where no noise is enough, as what is released once costs more than the share.

    This is what adding up leads to: (ε₁ + ε₂, δ₁ + δ₂) for two stages of (ε₁, δ₁) and (ε₂, δ₂).
    Source: Dwork et al. 2006, "Our data, ourselves", https://doi.org/10.1007/11761679_29.
    """
    every = planned_events(plan, "planned", releases, stages=stages)
    names = list(dict.fromkeys(event.stage for event in every))
    share = Limit("a share", target_epsilon / len(names), delta / len(names))
    found: dict[StageName, float | None] = {}
    for name in names:
        try:
            found[name], _ = least_noise([event for event in every if event.stage == name], [share])
        except BudgetError:
            found[name] = None
    return found
