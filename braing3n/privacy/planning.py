"""What a plan will cost a site, and how much noise keeps it within every limit.

Stages are planned together. Adding up what each of them costs by itself promises the same with more
noise, as it wastes what composition gains.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import get_args

from braing3n.budget import BudgetConfig, ReleaseConfig
from braing3n.errors import BudgetError, ConfigError
from braing3n.plan import STAGE_NAMES, Plan, StageName
from braing3n.privacy.accountant import MIN_NOISE_MULTIPLIER, epsilon
from braing3n.privacy.events import Event, MechanismName
from braing3n.privacy.ledger_entry import What

# A stage and one of its rounds, from 0; the number of its rounds stands for what follows the last.
Place = tuple[StageName, int]

_DPSGD, _ONCE = get_args(MechanismName)
_BEGINNING: Place = ("pretrain", 0)
_MOST_NOISE = 1000.0
_TOLERANCE = 1e-3


def charged_releases(release: ReleaseConfig) -> frozenset[What]:
    """Return what a site with a budget releases with noise of its own, beside its updates."""
    return frozenset(what for what in ("moments", "metrics", "counts")
                     if release.how(what, with_dp=True) == "noised")


BY_DEFAULT = charged_releases(ReleaseConfig())


@dataclass(frozen=True)
class Limit:
    """What something may cost; the rules themselves are those of `policy.check_budget`.

    Attributes:
        name: In words.
        epsilon: The most that it may come to.
        delta: At which that is stated.
        before: What was spent already, and counts.
        stage: The only stage that counts; None is all of them.
    """

    name: str
    epsilon: float
    delta: float
    before: tuple[Event, ...] = ()
    stage: StageName | None = None

    def cost(self, events: Sequence[Event]) -> float:
        """Return the ε that events come to, with what was spent before; 0 where none counts."""
        own = [event for event in events if self.stage in (None, event.stage)]
        return epsilon([*self.before, *own], self.delta) if own else 0.0


def planned_releases(
    plan: Plan, run: str, releases: Collection[What] = BY_DEFAULT, *, start: Place = _BEGINNING,
    stages: Sequence[StageName] = STAGE_NAMES,
) -> list[tuple[What, Event]]:
    """Return all that the rest of a plan costs a site, if it is asked in every round.

    With `sites_per_round` it is asked in some: the most that it can be is what has to fit.

    Args:
        plan: The plan.
        run: The run's id.
        releases: What the site releases beside its updates. Metrics are noised before each round that
            is measured, and for each stage's result; moments after the decoder's last round, where the
            plan gathers them; counts once, in the first round of training that is planned.
        start: The first round that counts.
        stages: The stages that the site takes part in.

    Returns:
        What is released and how it is noised, in the order of a ledger.
    """
    planned: list[tuple[What, Event]] = []
    for name in plan.stage_names:
        is_past = STAGE_NAMES.index(name) < STAGE_NAMES.index(start[0])
        if plan.stage(name).privacy is None or is_past or name not in stages:
            continue
        for number in range(start[1] if name == start[0] else 0, plan.stage(name).rounds + 1):
            counted = {what for what, _ in planned} & {"counts"}
            planned += [(what, _event(plan, run, (name, number), what))
                        for what in asked_for(plan, name, number)
                        if what == "update" or (what in releases and what not in counted)]
    return planned


def planned_events(
    plan: Plan, run: str, releases: Collection[What] = BY_DEFAULT, *, start: Place = _BEGINNING,
    stages: Sequence[StageName] = STAGE_NAMES,
) -> list[Event]:
    """Return the events of `planned_releases`."""
    return [event for _, event in planned_releases(plan, run, releases, start=start, stages=stages)]


def rounds_of(
    plan: Plan, stage: StageName, num_rounds: int, releases: Collection[What] = ()
) -> list[Event]:
    """Return what so many rounds of a stage cost, as events, whether the plan has as many or not.

    That is updates, and where metrics are released, as many as are measured in so many rounds at most.

    Raises:
        ConfigError: The stage has no `privacy`.
    """
    settings = plan.stage(stage)
    if settings.privacy is None:
        raise ConfigError(f"stage {stage} costs no privacy that could be counted",
                          expected="a stage with `privacy`", found="none in the plan",
                          fix="give the stage its `privacy:`, or name another with --stage")
    measured = math.ceil(num_rounds / settings.measure_every) if "metrics" in releases else 0
    return [event for what, times in (("update", num_rounds), ("metrics", measured))
            for event in [_event(plan, "planned", (stage, settings.rounds), what)] * times]


def asked_for(plan: Plan, stage: StageName, number: int) -> tuple[What, ...]:
    """Return what may be asked of a site in one round of a stage, or after the last.

    Nothing beyond that, and so what policies let pass is what was counted before a run began.
    """
    if number > plan.stage(stage).rounds:
        return ()
    if number == plan.stage(stage).rounds:
        gathers = stage == "decoder" and plan.gathers_moments
        return ("metrics", "moments") if gathers else ("metrics",)
    is_measured = number % plan.stage(stage).measure_every == 0
    return ("update", "metrics", "counts") if is_measured else ("update", "counts")


def _event(plan: Plan, run: str, place: Place, what: str) -> Event:
    settings = plan.stage(place[0])
    if settings.privacy is None:
        raise ValueError(f"nothing is charged in {place[0]}, which has no `privacy`")
    if what == "update":
        return Event(mechanism=_DPSGD, sample_rate=settings.privacy.sample_rate,
                     noise_multiplier=settings.privacy.noise_multiplier, steps=settings.steps(0),
                     stage=place[0], round_index=place[1], run=run)
    return Event(mechanism=_ONCE, sample_rate=1.0, steps=1, stage=place[0], round_index=place[1],
                 noise_multiplier=settings.privacy.release_noise_multiplier, run=run)


def limits_of(plan: Plan, budget: BudgetConfig | None, before: Sequence[Event]) -> list[Limit]:
    """Return every limit that a run of a plan must keep at a site, or for itself without one."""
    limits = []
    if budget is not None:
        limits.append(Limit("the site's whole budget", budget.epsilon, budget.delta, tuple(before)))
        limits += [Limit(f"the site's cap for {stage}", cap, budget.delta,
                         tuple(event for event in before if event.stage == stage), stage)
                   for stage, cap in budget.stage_epsilon.items()]
    if plan.budget is not None:
        limits.append(Limit("the plan's own budget", plan.budget.epsilon, plan.budget.delta))
    return limits


def plan_noise(
    plan: Plan, target_epsilon: float, delta: float, spent_before: Sequence[Event] = (), *,
    releases: Collection[What] = BY_DEFAULT, stages: Sequence[StageName] = STAGE_NAMES,
) -> float:
    """Return the least noise multiplier σ, common to all stages, with which a plan costs at most ε.

    See `least_noise`; the plan's own budget and noise multipliers of stages do not count.
    """
    limit = Limit("this epsilon", target_epsilon, delta, tuple(spent_before))
    return least_noise(planned_events(plan, "planned", releases, stages=stages), [limit])[0]


def least_noise(
    events: Sequence[Event], limits: Sequence[Limit], floor: float = MIN_NOISE_MULTIPLIER
) -> tuple[float, Limit | None]:
    """Return the least σ, common to all steps of training, with which events keep every limit.

    What is released once keeps the noise that the plan gives it.

    Args:
        events: What is planned.
        limits: What it may cost.
        floor: The least σ that is allowed at all.

    Returns:
        σ, at most a tenth of a percent above the least, rounded up to four digits, and the limit that
        decided; or the floor and None, where that keeps all of them.

    Raises:
        ConfigError: Nothing among the events is trained.
        BudgetError: For one of the limits no noise is enough.
    """
    if not any(event.mechanism == _DPSGD for event in events):
        raise ConfigError("there is nothing to plan", expected="a stage with `privacy`",
                          found="none among the stages of the plan that this is about",
                          fix="give the stages their `privacy:` first, with any noise_multiplier")
    found, decided = floor, None
    for limit in limits:
        if limit.cost(with_noise(events, found)) > limit.epsilon:  # less noise costs more
            found, decided = _least_within(events, limit, found), limit
    return found, decided


def with_noise(events: Sequence[Event], noise_multiplier: float) -> list[Event]:
    """Return the events with another noise multiplier in all steps of training."""
    return [event.model_copy(update={"noise_multiplier": noise_multiplier})
            if event.mechanism == _DPSGD else event for event in events]


def _least_within(events: Sequence[Event], limit: Limit, too_little: float) -> float:
    """Return the least σ that keeps one limit; `too_little` does not."""

    def cost(noise_multiplier: float) -> float:
        return limit.cost(with_noise(events, noise_multiplier))

    least, most = too_little, 2 * too_little
    while cost(most) > limit.epsilon:
        least, most = most, 2 * most
        if most > _MOST_NOISE:
            once = [event for event in events if event.mechanism != _DPSGD
                    and limit.stage in (None, event.stage)]
            raise BudgetError(
                f"no noise is enough for {limit.name}", fix="allow more, or raise "
                "release_noise_multiplier of the stages",
                expected=f"an epsilon of at most {limit.epsilon:g} at delta {limit.delta:g}",
                found=f"{epsilon([*limit.before, *once], limit.delta):.4g} without any training (spent "
                "before, or released once)")
    return _border(cost, limit.epsilon, least, most)


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
