"""What a site lets be asked of it: decided from its settings, the plan and its ledger, without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf

from braing3n.budget import BudgetConfig
from braing3n.errors import BudgetError, PolicyError, ReplayError
from braing3n.plan import STAGE_NAMES, Plan, StageName
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.events import Event
from braing3n.privacy.ledger_entry import What
from braing3n.privacy.ledger_history import Decided, History
from braing3n.privacy.planning import asked_for
from braing3n.privacy_plan import StagePrivacy

_ASK = ("ask the coordinator for a plan within the site's `budget:`, or change that if the hospital "
        "agrees")


@dataclass(frozen=True)
class Order:
    """What a coordinator asks a site to compute and to release.

    Attributes:
        run: The run's id.
        plan: The run's plan.
        stage: The stage.
        round_index: From 0.
    """

    run: str
    plan: Plan
    stage: StageName
    round_index: int

    @property
    def is_dp(self) -> bool:
        """Whether the plan trains the stage with differential privacy."""
        return self.plan.stage(self.stage).privacy is not None


def check_order(order: Order, budget: BudgetConfig) -> StagePrivacy:
    """Check what a site's settings say of an order; `check_sequence` and `check_budget` see its past.

    1. The site takes part in the stage.
    2. The plan trains it with differential privacy. (Stages of `without_dp` do not come here.)
    3. What is protected is a subject, of the cohort that the site's budget is for.
    4. Noise is not less, in training and of what is released once, and the sample rate not larger,
       than the site's bounds.

    Returns:
        How the stage is trained.

    Raises:
        PolicyError: A rule is broken; nothing was spent.
    """
    check_stage(order, budget)
    privacy, plan_budget = order.plan.stage(order.stage).privacy, order.plan.budget
    if privacy is None or plan_budget is None:
        raise _refusal("the plan trains this stage without differential privacy",
                       f"`privacy:` in stage {order.stage}, or that stage in the site's `without_dp:`",
                       "neither")
    if privacy.unit != budget.unit:
        raise _refusal("the plan protects another unit", f"unit: {budget.unit}", privacy.unit)
    if plan_budget.cohort not in (None, budget.cohort):
        raise _refusal("the plan is for another cohort", "the site's own cohort, or none named",
                       "another name")
    for name, noise in (("noise_multiplier", privacy.noise_multiplier),
                        ("release_noise_multiplier", privacy.release_noise_multiplier)):
        if noise < budget.min_noise_multiplier:
            raise _refusal("the plan has too little noise",
                           f"{name} of at least {budget.min_noise_multiplier:g}", f"{noise:g}")
    if privacy.sample_rate > budget.max_sample_rate:
        raise _refusal("the plan draws too many subjects a step",
                       f"sample_rate of at most {budget.max_sample_rate:g}",
                       f"{privacy.sample_rate:g}")
    return privacy


def check_stage(order: Order, budget: BudgetConfig) -> None:
    """Check that the site takes part in the stage at all.

    Raises:
        PolicyError: It does not.
    """
    if order.stage not in budget.stages:
        raise _refusal("the site takes no part in this stage", ", ".join(budget.stages) or "none",
                       order.stage)


def check_decided(budget: BudgetConfig, decided: Decided) -> None:
    """Check that a site's settings allow no more than what the hospital has signed into its ledger.

    Raises:
        PolicyError: They do.
    """
    if budget.epsilon > decided.epsilon or budget.delta != decided.delta:
        raise PolicyError(
            "the budget was changed without a signed decision",
            expected=f"an epsilon of at most {decided.epsilon:g} at delta {decided.delta:g}, as the "
            "ledger says", found=f"an epsilon of {budget.epsilon:g} at delta {budget.delta:g}",
            fix="change the settings back; or, if the hospital has decided so, sign it into the ledger "
                "with `braing3n site budget sign SITE.yaml`")


def check_sequence(order: Order, whats: Sequence[What], history: History) -> None:
    """Check an order against what the site did before.

    1. Nothing is released that the plan does not ask for at this place.
    2. A run keeps the plan that it began with: another one under its name is no part of it.
    3. Rounds of training go forwards.
    4. What was released once is given again as it is, from the outbox, or not at all.

    Raises:
        PolicyError: One of the first two rules is broken; nothing was spent.
        ReplayError: One of the others is.
    """
    for what in whats:
        _check_asked_for(order, what)
    own = [entry for entry in history.entries if entry.run == order.run and entry.kind != "refuse"]
    if {entry.plan_digest for entry in own} - {order.plan.digest, None}:
        raise _refusal("the run has another plan than it began with", "the same plan",
                       "one of another digest")
    place = _place(order.stage, order.round_index)
    settled = [(entry.what, _place(entry.stage, entry.round_index)) for entry in own
               if entry.kind == "settle" and entry.stage is not None and entry.round_index is not None]
    for what in whats:
        done = [there for other, there in settled if other == what]
        if place in done or (what == "update" and any(place < there for there in done)):
            last = max(done)
            raise ReplayError(
                "the task is for something that this site has released already, or for a round before",
                expected=f"later than {STAGE_NAMES[last[0]]} round {last[1] + 1}",
                found=f"{order.stage} round {order.round_index + 1}",
                fix="nothing was spent; if the coordinator lost a round, it must begin a new run")


def _check_asked_for(order: Order, what: What) -> None:
    """Check that a release is one of the plan's."""
    if what in asked_for(order.plan, order.stage, order.round_index):
        return
    rounds = order.plan.stage(order.stage).rounds
    raise _refusal(f"the plan asks for no {what} here", f"what {rounds} rounds of {order.stage} need",
                   f"{what} in round {order.round_index + 1}")


def _place(stage: StageName, round_index: int) -> tuple[int, int]:
    return STAGE_NAMES.index(stage), round_index


def check_budget(
    new: Sequence[Event], rest: Sequence[Event], earlier: Sequence[Event], order: Order,
    budget: BudgetConfig,
) -> None:
    """Check that work fits every limit before any of it is done.

    Args:
        new: What is to be done now.
        rest: What the plan asks for after that, where it has not begun yet at this site: a run that
            cannot end within the budget is not begun. Empty once it has begun.
        earlier: All that was ever spent on the cohort.
        order: What it is for.
        budget: The site's limits.

    Raises:
        BudgetError: It does not fit; nothing was spent.
    """
    planned = [*new, *rest]
    _fits("the site's whole budget", [*earlier, *planned], budget.epsilon, budget.delta, bool(rest))
    for stage, cap in budget.stage_epsilon.items():
        of_stage = [event for event in [*earlier, *planned] if event.stage == stage]
        if any(event.stage == stage for event in planned):
            _fits(f"the site's cap for {stage}", of_stage, cap, budget.delta, bool(rest))
    limits = order.plan.budget
    if limits is not None:
        own = [event for event in [*earlier, *planned] if event.run == order.run]
        _fits("the plan's own budget", own, limits.epsilon, limits.delta, bool(rest))


def _fits(what: str, events: Sequence[Event], limit: float, delta: float, is_whole: bool) -> None:
    cost = epsilon(events, delta)
    if cost <= limit:
        return
    found = "more than can be accounted for" if isinf(cost) else f"{cost:.4g}"
    raise BudgetError(
        f"{'the run does not fit' if is_whole else 'this round does not fit'} {what}",
        expected=f"ε of at most {limit:g} at δ = {delta:g}, with all that was spent before",
        found=found,
        fix="use more noise, fewer rounds or a smaller sample rate: `braing3n site budget plan`")


def _refusal(what: str, expected: str, found: str) -> PolicyError:
    return PolicyError(what, expected=expected, found=found, fix=_ASK)
