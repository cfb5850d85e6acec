"""What `braing3n site budget` prints, for people and for programs."""

import json
import math
from collections.abc import Mapping
from typing import Any


def plan_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the answer of `braing3n site budget plan` for people."""
    lines = [_title(answer), f"{'stage':10}{'sample_rate':>13}{'noise_multiplier':>18}{'steps':>8}"
             f"{'epsilon alone':>15}{'so far':>9}"]
    lines += [f"{row['stage']:10}{row['sample_rate']:>13g}{row['noise_multiplier']:>18g}"
              f"{row['steps']:>8}{up(row['alone']):>15}{up(row['so_far']):>9}"
              for row in answer["stages"]]
    if answer["as_written"] is not None:
        lines.append(f"as written: {_three(answer['as_written'])}")
    lines.append("it fits" if answer["fits"] else "it does not fit")
    lines += [f"  {reason}" for reason in answer["reasons"]]
    if answer["cannot"]:
        lines.append(f"for an epsilon of {answer['epsilon']:g}: {answer['cannot']}")
    if answer["noise_multiplier"] is None:
        return lines
    split = ", ".join(f"{name} {'-' if noise is None else f'{noise:g}'}"
                      for name, noise in answer["split_noise_multipliers"].items())
    lines += [f"for an epsilon of {answer['epsilon']:g}, one noise_multiplier in every stage: "
              f"{answer['noise_multiplier']:g}", f"  {_three(answer['planned'])}"]
    if len(answer["stages"]) > 1:
        lines.append(f"  a share of it for each stage would need more noise: {split}")
    lines += ["the lines of the plan:", "stages:"]
    for row in answer["stages"]:
        lines += [f"  {row['stage']}:", "    privacy:",
                  f"      noise_multiplier: {answer['noise_multiplier']:g}"]
    return lines


def cost_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the answer of `braing3n site budget cost` for people."""
    return [_title(answer), f"{'stage':10}{'rounds':>8}{'steps':>8}{'epsilon alone':>15}"
            f"{'with before':>13}{'after the plan':>16}",
            *(f"{row['stage']:10}{answer['rounds']:>8}{row['steps']:>8}{up(row['alone']):>15}"
              f"{up(row['with_before']):>13}{up(row['after_plan']):>16}" for row in answer["stages"]),
            f"within an epsilon of {answer['epsilon']:g}" if answer["fits"] else "it does not fit",
            *(f"  {reason}" for reason in answer["reasons"])]


def _title(answer: Mapping[str, Any]) -> str:
    before = answer["num_spent_before"]
    return (f"{answer['meaning']}, at delta {answer['delta']:g}"
            + (f"; {before} releases of before are counted" if before else ""))


def _three(cost: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name.upper()} {up(cost[name])}" for name in ("pld", "rdp", "prv"))


def up(epsilon: float | None) -> str:
    """Return an ε for people, rounded up as it is an upper bound."""
    if epsilon is None:
        return "-"
    return "beyond" if math.isinf(epsilon) else f"{math.ceil(epsilon * 1000) / 1000:.3f}"


def as_json(answer: Mapping[str, Any]) -> str:
    """Return an answer as JSON, which has no word for infinite: it is null there."""
    return json.dumps(_finite(answer), indent=1)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isinf(value) else value
