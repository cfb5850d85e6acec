"""What `braing3n site budget` prints, for people and for programs."""

import json
import math
from collections.abc import Mapping
from typing import Any

_RELEASES = {"update": "updates"}


def plan_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the answer of `braing3n site budget plan` for people."""
    lines = [_title(answer)]
    if answer["rows"]:
        lines.append(f"{'stage':11}{'release':9}{'sample_rate':>13}{'noise_multiplier':>18}{'steps':>8}"
                     f"{'epsilon alone':>15}{'so far':>9}")
    lines += [f"{row['stage']:11}{_RELEASES.get(row['what'], row['what']):9}{row['sample_rate']:>13g}"
              f"{row['noise_multiplier']:>18g}{row['steps']:>8}{up(row['alone']):>15}"
              f"{up(row['so_far']):>9}" for row in answer["rows"]]
    if answer["as_written"] is not None:
        lines.append(f"as written: {_three(answer['as_written'])}")
        lines.append(_rest(answer["left_after_plan"]))
    fine = "it fits" if answer["takes_part_in_all"] else (
        f"it fits, in {' and '.join(answer['takes_part_in'])} alone")
    return [*lines, *_verdict(answer, fine), *_suggestion(answer)]


def _rest(rest: Mapping[str, float]) -> str:
    allowed = f"an epsilon of {rest['of']:g} at delta {rest['delta']:g}"
    if rest["epsilon"] >= 0:
        return f"left after it: {left(rest['epsilon'])} of {allowed}"
    over = "more than can be told" if math.isinf(rest["epsilon"]) else up(-rest["epsilon"])
    return f"over by {over}: {allowed} is allowed"


def _suggestion(answer: Mapping[str, Any]) -> list[str]:
    """Return what to change."""
    if answer["cannot"]:
        return [f"other noise does not help: {answer['cannot']}"]
    noise = answer["noise_multiplier"]
    if noise is None:
        return []
    stages = list(dict.fromkeys(row["stage"] for row in answer["rows"]))
    lines = [f"the least noise_multiplier, one for every stage, that keeps all limits: {noise}",
             f"  decided by {answer['decided_by']}", f"  with it: {_three(answer['planned'])}"]
    split = answer["split_noise_multipliers"]
    if split is not None and len(split) > 1:
        each = ", ".join(f"{name} {'-' if noise is None else f'{noise:g}'}"
                         for name, noise in split.items())
        lines.append(f"  with 1/{len(split)} of that epsilon for each stage it would have to be: "
                     f"{each}")
    if answer["still_refused"]:
        lines.append("  it would be refused even so, for the other reasons above")
    lines += ["the lines of the plan:", "stages:"]
    for stage in stages:
        lines += [f"  {stage}:", "    privacy:", f"      noise_multiplier: {noise}"]
    return lines


def cost_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the answer of `braing3n site budget cost` for people."""
    return [_title(answer), f"{'stage':11}{'rounds':>7}{'steps':>9}{'epsilon alone':>15}"
            f"{'with what was spent':>21}{'on top of the whole plan':>26}",
            *(f"{row['stage']:11}{answer['rounds']:>7}{row['steps']:>9}{up(row['alone']):>15}"
              f"{up(row['with_before']):>21}{up(row['with_whole_plan']):>26}"
              for row in answer["stages"]),
            *_verdict(answer, "it fits, also on top of the whole plan")]


def _verdict(answer: Mapping[str, Any], fine: str) -> list[str]:
    heading = {True: fine, False: "it does not fit", None: "whether it fits cannot be told"}
    return [heading[answer["fits"]],
            *(f"  {reason}" for reason in [*answer["reasons"], *answer["unknown"]]),
            *(f"warning: {warning}" for warning in answer["warnings"]),
            *(f"note: {note}" for note in answer["notes"])]


def _title(answer: Mapping[str, Any]) -> str:
    before = answer["num_spent_before"]
    counted = "1 release of before is" if before == 1 else f"{before} releases of before are"
    return (f"{answer['meaning']}, at delta {answer['delta']:g}"
            + (f"; {counted} counted" if before else ""))


def _three(cost: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name.upper()} {up(cost[name])}" for name in ("pld", "rdp", "prv"))


def up(epsilon: float | None) -> str:
    """Return an ε for people, rounded up as it is an upper bound."""
    if epsilon is None:
        return "-"
    return "beyond" if math.isinf(epsilon) else f"{math.ceil(epsilon * 1000) / 1000:.3f}"


def left(epsilon: float) -> str:
    """Return what is left of an ε for people, rounded down."""
    return f"{math.floor(epsilon * 1000) / 1000:.3f}"


def as_json(answer: Mapping[str, Any]) -> str:
    """Return an answer as JSON, which has no word for infinite: it is null there."""
    return json.dumps(_finite(answer), indent=1)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isinf(value) else value
