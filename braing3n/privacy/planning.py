"""What a plan will cost a site, and how much noise keeps it within an ε.

Stages are planned together. Adding up what each of them costs by itself promises the same with more
noise, as it wastes what composition gains.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from braing3n.errors import BudgetError, ConfigError
from braing3n.plan import STAGE_NAMES, Plan, StageName
from braing3n.privacy.accountant import MIN_NOISE_MULTIPLIER, epsilon
from braing3n.privacy.events import Event, MechanismName

# A stage and one of its rounds, from 0; the number of its rounds stands for what follows the last.
Place = tuple[StageName, int]

_DPSGD, _ONCE = get_args(MechanismName)
_BEGINNING: Place = ("pretrain", 0)
_MOST_NOISE = 1000.0
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class StageCost:
    """What one stage of a plan costs a site that trains in all of its rounds.

    Attributes:
        stage: The stage.
        sample_rate: q.
        noise_multiplier: σ.
        rounds: Its rounds.
        steps: Its steps of DP-SGD, over all rounds.
        alone: ε of the stage by itself, with what is released when it ends.
        so_far: ε of all up to its end, with what was spent before.
    """

    stage: StageName
    sample_rate: float
    noise_multiplier: float
    rounds: int
    steps: int
    alone: float
    so_far: float


def planned_events(
    plan: Plan, run: str, moments: bool, *, start: Place = _BEGINNING,
    stages: Sequence[StageName] = STAGE_NAMES,
) -> list[Event]:
    """Return all that the rest of a plan costs a site, if it is asked in every round.

    With `sites_per_round` it is asked in some: the most that it can be is what has to fit.

    Args:
        plan: The plan.
        run: The run's id.
        moments: Whether the site gives the latents' moments, with noise. They are asked for once
            whenever a run has a decoder stage, after the last of its rounds.
        start: The first round that counts.
        stages: The stages that the site takes part in.
    """
    events = []
    for name in plan.stage_names:
        settings, is_past = plan.stage(name), STAGE_NAMES.index(name) < STAGE_NAMES.index(start[0])
        if settings.privacy is None or settings.local_steps is None or is_past or name not in stages:
            continue
        first = start[1] if name == start[0] else 0
        events += [Event(
            mechanism=_DPSGD, sample_rate=settings.privacy.sample_rate,
            noise_multiplier=settings.privacy.noise_multiplier, steps=settings.local_steps, stage=name,
            round_index=number, run=run) for number in range(first, settings.rounds)]
        if name == "decoder" and moments and first <= settings.rounds:
            events.append(Event(
                mechanism=_ONCE, sample_rate=1.0, steps=1, stage=name, round_index=settings.rounds,
                noise_multiplier=settings.privacy.release_noise_multiplier, run=run))
    return events


def plan_noise(
    plan: Plan, target_epsilon: float, delta: float, spent_before: Sequence[Event] = (), *,
    moments: bool = True, stages: Sequence[StageName] = STAGE_NAMES,
) -> float:
    """Return the least noise multiplier σ, common to all stages, with which a plan costs at most ε.

    What is released once keeps the noise that the plan gives it.

    Args:
        plan: The plan; its own noise multipliers of stages do not count.
        target_epsilon: ε of all stages together, and of what was spent before.
        delta: δ.
        spent_before: What the site released on the cohort already.
        moments: See `planned_events`.
        stages: See `planned_events`.

    Returns:
        σ, at most a tenth of a percent above the least, rounded up to four digits.

    Raises:
        ConfigError: None of these stages has `privacy`.
        BudgetError: No noise is enough, as what was spent or is released once costs more.
    """
    events = planned_events(plan, "planned", moments, stages=stages)
    if not any(event.mechanism == _DPSGD for event in events):
        raise ConfigError("there is nothing to plan", expected="a stage with `privacy`",
                          found=f"none among {', '.join(plan.stage_names)}",
                          fix="give the stages their `privacy:` first, with any noise_multiplier")
    return _least_noise(events, spent_before, target_epsilon, delta)


def split_noise(
    plan: Plan, target_epsilon: float, delta: float, *, moments: bool = True,
    stages: Sequence[StageName] = STAGE_NAMES,
) -> dict[StageName, float | None]:
    """Return the σ that every stage would need if each got an equal share of ε and δ.

    It is None where no noise is enough, as what is released once costs more than the share.

    This is what adding up leads to: (ε₁ + ε₂, δ₁ + δ₂) for two stages of (ε₁, δ₁) and (ε₂, δ₂).
    Source: Dwork et al. 2006, "Our data, ourselves", https://doi.org/10.1007/11761679_29.
    """
    every = planned_events(plan, "planned", moments, stages=stages)
    names = [name for name in plan.stage_names if any(event.stage == name for event in every)]
    found: dict[StageName, float | None] = {}
    for name in names:
        try:
            found[name] = _least_noise([event for event in every if event.stage == name], (),
                                       target_epsilon / len(names), delta / len(names))
        except BudgetError:
            found[name] = None
    return found


def with_noise(events: Sequence[Event], noise_multiplier: float) -> list[Event]:
    """Return the events with another noise multiplier in all steps of training."""
    return [event.model_copy(update={"noise_multiplier": noise_multiplier})
            if event.mechanism == _DPSGD else event for event in events]


def cost_table(
    plan: Plan, delta: float, spent_before: Sequence[Event] = (), *, moments: bool = True,
    stages: Sequence[StageName] = STAGE_NAMES,
) -> list[StageCost]:
    """Return what each stage with `privacy` costs by itself, and all up to its end together."""
    rows: list[StageCost] = []
    so_far = list(spent_before)
    every = planned_events(plan, "planned", moments, stages=stages)
    for name in plan.stage_names:
        events = [event for event in every if event.stage == name]
        settings = plan.stage(name)
        if not events or settings.privacy is None:
            continue
        so_far += events
        rows.append(StageCost(
            name, settings.privacy.sample_rate, settings.privacy.noise_multiplier, settings.rounds,
            sum(event.steps for event in events if event.mechanism == _DPSGD),
            epsilon(events, delta), epsilon(so_far, delta)))
    return rows


def rounds_of(plan: Plan, stage: StageName, num_rounds: int) -> list[Event]:
    """Return what so many rounds of a stage cost, as events, whether the plan has as many or not.

    Raises:
        ConfigError: The stage has no `privacy`.
    """
    settings = plan.stage(stage)
    if settings.privacy is None or settings.local_steps is None:
        raise ConfigError(f"stage {stage} costs no privacy that could be counted",
                          expected="a stage with `privacy`", found="none in the plan",
                          fix="give the stage its `privacy:`, or name another with --stage")
    return [Event(mechanism=_DPSGD, sample_rate=settings.privacy.sample_rate,
                  noise_multiplier=settings.privacy.noise_multiplier,
                  steps=settings.local_steps * num_rounds, stage=stage, round_index=settings.rounds,
                  run="planned")]


def _least_noise(
    events: Sequence[Event], spent_before: Sequence[Event], target_epsilon: float, delta: float
) -> float:
    """Return the least σ for the steps of training among `events`; see `plan_noise`."""

    def cost(noise_multiplier: float) -> float:
        return epsilon([*spent_before, *with_noise(events, noise_multiplier)], delta)

    most = 1.0
    while cost(most) > target_epsilon:
        most *= 2
        if most > _MOST_NOISE:
            once = [event for event in events if event.mechanism != _DPSGD]
            raise BudgetError(
                "no noise is enough", expected=f"an epsilon of {target_epsilon:g} at delta {delta:g}",
                found=f"{epsilon([*spent_before, *once], delta):.4g} without any training: spent "
                "before, or released once",
                fix="allow more, or raise release_noise_multiplier of the decoder stage")
    least = most / 2 if most > 1 else MIN_NOISE_MULTIPLIER
    return least if cost(least) <= target_epsilon else _border(cost, target_epsilon, least, most)


def _border(cost: Callable[[float], float], target_epsilon: float, least: float, most: float) -> float:
    """Return σ between one that costs more and one that does not, rounded up to four digits."""
    from scipy.optimize import brentq  # noqa: PLC0415  # keeps a client's start fast

    def excess(log_noise: float) -> float:
        # On logarithmic scales it is nearly a line; some ends are infinite or 0.
        return math.log(min(max(cost(math.exp(log_noise)) / target_epsilon, 1e-3), 1e3))

    found = math.exp(brentq(excess, math.log(least), math.log(most), xtol=_TOLERANCE / 4))
    scale = 10.0 ** (3 - math.floor(math.log10(found)))
    digits = math.ceil(found * scale)
    while cost(digits / scale) > target_epsilon:  # brentq ends on either side
        digits += 1
    return float(digits / scale)
