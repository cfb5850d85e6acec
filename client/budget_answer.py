"""The answers of `braing3n site budget plan` and `cost`, before anybody prints them."""

from collections.abc import Sequence
from dataclasses import asdict
from math import inf, isinf
from typing import Any

from braing3n.errors import BudgetError, ConfigError, PolicyError
from braing3n.plan import Plan, StageName
from braing3n.privacy.accountant import MIN_NOISE_MULTIPLIER, epsilon, spent
from braing3n.privacy.events import Event
from braing3n.privacy.planning import Limit, least_noise, rounds_of, with_noise
from braing3n.privacy.policy import Order, check_order
from braing3n.yaml_files import parse
from client.budget_page import up
from client.budget_question import Question
from client.plan_costs import cost_table, split_noise

_MEANING = ("(epsilon, delta)-differential privacy for one patient of a site that is asked in every "
            "round")


def answer_plan(asked: Question) -> dict[str, Any]:
    """Return what the plan costs as it is written, and the noise that it needs."""
    answer = _beginning(asked) | {"rows": [], **dict.fromkeys((
        "as_written", "left_after_plan", "noise_multiplier", "decided_by", "planned",
        "split_noise_multipliers", "cannot")), "still_refused": []}
    if asked.void is not None:
        return answer | _verdict(asked, [asked.void])
    events = asked.asked_for()
    if not events:  # no stage is trained here with DP
        return answer | _verdict(asked, [])
    answer["rows"] = [asdict(row) for row in cost_table(
        asked.plan, asked.delta, asked.before, releases=asked.releases, stages=asked.stages)]
    answer["as_written"] = asdict(spent([*asked.before, *events], asked.delta))
    answer["left_after_plan"] = _left(asked, events)
    answer |= _noise(asked, events)
    return answer | _verdict(asked, _objections(asked, asked.plan, events))


def answer_cost(asked: Question, stage: str | None, rounds: int) -> dict[str, Any]:
    """Return what so many rounds of a stage cost, or of each and of all.

    Raises:
        ConfigError: There is no such stage, or it has no `privacy`.
    """
    names = asked.stage_names
    if not names or stage not in (None, *names):
        raise ConfigError("there is no such stage", found=stage or "none that is run here",
                          expected=" or ".join(names) or "a stage that the site takes part in",
                          fix="name one of them with --stage")
    if asked.void is not None:
        return _beginning(asked) | {"rounds": rounds, "stages": []} | _verdict(asked, [asked.void])
    each: dict[str, list[Event]] = {
        name: rounds_of(asked.plan, name, rounds, asked.releases) for name in names
        if name == stage or (stage is None and asked.plan.stage(name).privacy is not None)}
    steps: dict[str, int] = {
        name: rounds * asked.plan.stage(name).steps(0) for name in names if name in each}
    if len(each) > 1:
        each["all stages"] = [event for events in each.values() for event in events]
    rows = [{"stage": name, "steps": steps.get(name, sum(steps.values())), **_costs(asked, events)}
            for name, events in each.items()]
    number = "1 round" if rounds == 1 else f"{rounds} rounds"
    reasons = [f"{number} of {name}{reason}" for name, events in each.items()
               for reason in _too_much(asked, events)]
    return _beginning(asked) | {"rounds": rounds, "stages": rows} | _verdict(asked, reasons)


def _costs(asked: Question, events: Sequence[Event]) -> dict[str, float]:
    """Return ε of events alone, with what was spent, and on top of the whole plan besides."""
    costs: dict[str, float] = {}
    for key, others in (("alone", ()), ("with_before", asked.before),
                        ("with_whole_plan", (*asked.before, *asked.asked_for()))):
        is_beyond = inf in costs.values()  # more comes to no less
        costs[key] = inf if is_beyond else epsilon([*others, *events], asked.delta)
    return costs


def _too_much(asked: Question, events: Sequence[Event]) -> list[str]:
    """Return the limits that events do not keep, or not on top of the whole plan."""
    alone = _exceeded(asked, events)
    if alone:
        return [f": {reason}" for reason in alone]
    return [f", on top of the whole plan: {reason}"
            for reason in _exceeded(asked, [*asked.asked_for(), *events])]


def _beginning(asked: Question) -> dict[str, Any]:
    return {"epsilon": asked.target, "delta": asked.delta, "meaning": _MEANING,
            "num_spent_before": len(asked.before), "warnings": list(asked.warnings),
            "notes": list(asked.notes), "takes_part_in": asked.stage_names,
            "takes_part_in_all": len(asked.stage_names) == len(asked.plan.stage_names)}


def _verdict(asked: Question, reasons: Sequence[str]) -> dict[str, Any]:
    """Return whether it fits, which is None where that cannot be told, and why not."""
    every = [*reasons, *asked.hindrances]
    fits = False if every else None if asked.unknown else True
    return {"fits": fits, "reasons": every, "unknown": list(asked.unknown)}


def _left(asked: Question, events: Sequence[Event]) -> dict[str, float]:
    """Return what is left of the site's ε after the plan, or of the ε that was planned for.

    It is negative where the plan costs more.
    """
    limit, delta = (asked.target, asked.delta) if asked.budget is None else (
        asked.budget.epsilon, asked.budget.delta)
    return {"epsilon": limit - epsilon([*asked.before, *events], delta), "of": limit, "delta": delta}


def _noise(asked: Question, events: Sequence[Event]) -> dict[str, Any]:
    """Return the least noise that keeps every limit, which of them decided, and what is amiss still."""
    floor = MIN_NOISE_MULTIPLIER if asked.budget is None else max(
        asked.budget.min_noise_multiplier, MIN_NOISE_MULTIPLIER)
    try:
        noise, decided = least_noise(events, asked.limits, floor)
    except BudgetError as error:
        return {"cannot": f"{error.what}: {error.found}, where {error.expected} is allowed"}
    return {
        "noise_multiplier": noise, "decided_by": _deciding(asked, decided),
        "planned": asdict(spent([*asked.before, *with_noise(events, noise)], asked.delta)),
        "split_noise_multipliers": _split(asked),
        "still_refused": [*_objections(asked, _rewritten(asked.plan, asked.stage_names, noise),
                                       with_noise(events, noise)), *asked.hindrances],
    }


def _split(asked: Question) -> dict[StageName, float | None] | None:
    """Return the σ that each stage would need with an equal share of the tightest limit.

    None where something was spent before, of which no stage has a share.
    """
    if asked.before:
        return None
    tightest = min((limit for limit in asked.limits if limit.stage is None),
                   key=lambda limit: limit.epsilon)
    return split_noise(asked.plan, tightest.epsilon, tightest.delta, releases=asked.releases,
                       stages=asked.stages)


def _deciding(asked: Question, limit: Limit | None) -> str:
    if limit is not None:
        return f"{limit.name}, an epsilon of {limit.epsilon:g} at delta {limit.delta:g}"
    if asked.budget is not None and asked.budget.min_noise_multiplier >= MIN_NOISE_MULTIPLIER:
        return "the site's min_noise_multiplier"
    return "the least noise that can be accounted for"


def _rewritten(plan: Plan, stages: Sequence[StageName], noise_multiplier: float) -> Plan:
    """Return the plan with another noise multiplier in these stages."""
    content = plan.model_dump(mode="json")
    for name in stages:
        if content["stages"][name]["privacy"] is not None:
            content["stages"][name]["privacy"]["noise_multiplier"] = noise_multiplier
    return parse(Plan, content, "the plan with other noise")


def _objections(asked: Question, plan: Plan, events: Sequence[Event]) -> list[str]:
    """Return why a plan would be refused: by each limit, and by what a site says of each stage."""
    said: dict[str, None] = {}  # each once, in their order
    for name in asked.stage_names:
        try:
            if asked.budget is not None and plan.stage(name).privacy is not None:
                check_order(Order("planned", plan, name, 0), asked.budget)
        except PolicyError as error:
            said[f"{error.what}: {error.found} instead of {error.expected}"] = None
    return [*said, *_exceeded(asked, events)]


def _exceeded(asked: Question, events: Sequence[Event]) -> list[str]:
    """Return the limits that events do not keep, in words."""
    costs = [(limit, limit.cost(events)) for limit in asked.limits]
    return [f"more than {limit.name}: an epsilon "
            f"{'beyond any number' if isinf(cost) else f'of {up(cost)}'}"
            f"{' with what was spent before' if limit.before else ''}, where {limit.epsilon:g} is "
            f"allowed at delta {limit.delta:g}" for limit, cost in costs if cost > limit.epsilon]
