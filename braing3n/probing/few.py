"""Warnings of probes over so few people that an interval says little."""

from collections.abc import Mapping
from dataclasses import dataclass

from braing3n.evaluation.metrics import FEW
from braing3n.listing import first_of


@dataclass(frozen=True)
class ProbeWarning:
    """What somebody has to know of a table of probes; `code` stays the same between versions."""

    code: str
    detail: str


def few_people(measured: Mapping[str, int], fitted: Mapping[str, int]) -> tuple[ProbeWarning, ...]:
    """Return a warning for each cause: few people to measure on, few to fit on.

    Args:
        measured: By task, how many people it was measured on.
        fitted: By task, how many it was fitted on.
    """
    found = (
        ("few-measured", "measured on", measured,
         "intervals come out too narrow, and other people would move the figures far"),
        ("few-fitted", "fitted on", fitted,
         "the figures tell more of these people than of the encoders"))
    return tuple(ProbeWarning(code, f"{what} fewer than {FEW} people: {numbers}; {so}")
                 for code, what, counts, so in found if (numbers := _by_number(counts)))


def _by_number(counts: Mapping[str, int]) -> str:
    """Return small numbers with their tasks, such as `3 (age, sex), 5 (site)`."""
    few = {number: [task for task, count in counts.items() if count == number]
           for number in sorted(set(counts.values())) if number < FEW}
    return ", ".join(f"{number} ({first_of(tasks)})" for number, tasks in few.items())
