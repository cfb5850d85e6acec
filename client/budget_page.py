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
        rest = answer["left_after_plan"]
        lines.append(f"left after it: {left(rest['epsilon'])} of an epsilon of {rest['of']:g} at delta "
                     f"{rest['delta']:g}")
    lines += [*_verdict(answer, "it fits"), *_suggestion(answer)]
    return lines


def _suggestion(answer: Mapping[str, Any]) -> list[str]:
    """Return what to change."""
    if answer["cannot"]:
        return [f"other noise does not help: {answer['cannot']}"]
    noise = answer["noise_multiplier"]
    if noise is None:
        return []
    stages = list(answer["split_noise_multipliers"])
    lines = [f"the least noise_multiplier, one for every stage, that keeps all limits: {noise}",
             f"  decided by {answer['decided_by']}", f"  with it: {_three(answer['planned'])}"]
    if len(stages) > 1:
        split = ", ".join(f"{name} {'-' if each is None else f'{each:g}'}"
                          for name, each in answer["split_noise_multipliers"].items())
        lines.append(f"  planned apart, an equal share of epsilon for each stage, it would be: {split}")
    if answer["still_refused"]:
        lines += ["  it would be refused even so:", *(f"    {why}" for why in answer["still_refused"])]
    lines += ["the lines of the plan:", "stages:"]
    for stage in stages:
        lines += [f"  {stage}:", "    privacy:", f"      noise_multiplier: {noise}"]
    return lines


def cost_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the answer of `braing3n site budget cost` for people."""
    return [_title(answer), f"{'stage':11}{'rounds':>7}{'steps':>8}{'epsilon alone':>15}"
            f"{'with what was spent':>21}{'with the whole plan besides':>29}",
            *(f"{row['stage']:11}{answer['rounds']:>7}{row['steps']:>8}{up(row['alone']):>15}"
              f"{up(row['with_before']):>21}{up(row['with_whole_plan']):>29}"
              for row in answer["stages"]),
            *_verdict(answer, "it fits, the rest of the plan aside")]


def _verdict(answer: Mapping[str, Any], fine: str) -> list[str]:
    return [fine if answer["fits"] else "it does not fit",
            *(f"  {reason}" for reason in answer["reasons"]),
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
