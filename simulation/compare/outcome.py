"""Everything that a comparison found, as its page and its JSON show it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from braing3n.evaluation.metrics import NUM_RESAMPLES
from braing3n.plan import Plan
from simulation.compare.arms import Arm
from simulation.compare.differences import Difference
from simulation.compare.results import Main, Result, as_dict
from simulation.compare.verdict import Verdict

_SIZES = ("name", "num_train_subjects", "num_train_scans", "num_test_subjects", "num_test_scans")


@dataclass(frozen=True)
class DomainShift:
    """Differences between sites, ready to be shown.

    Attributes:
        picture: A PNG of people, labels and grey values by site.
        header: Of the table of distances.
        rows: A line a site.
        sentences: What they say.
    """

    picture: bytes
    header: list[str]
    rows: list[list[str]]
    sentences: list[str]


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison found.

    Attributes:
        plan: The federation's.
        about: Scans, day, software and privacy, as texts by name.
        sizes: Of each site its name, subjects and scans trained on, subjects and scans held out.
        arms: With the seconds that each took.
        mains: What is summed up.
        results: All figures.
        differences: How far the federation is ahead of others.
        verdict: Who won, in sentences.
        left_out: Why probes were not compared, by name.
        notes: What single sites cannot do, and what is in the folder beside these arms.
        shift: What differs between the sites.
    """

    plan: Plan
    about: Mapping[str, str]
    sizes: tuple[tuple[str, int, int, int, int], ...]
    arms: Mapping[Arm, float]
    mains: tuple[Main, ...]
    results: tuple[Result, ...]
    differences: tuple[Difference, ...]
    verdict: Verdict
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    shift: DomainShift

    @property
    def num_held_out(self) -> int:
        """Subjects that nobody trained on."""
        return sum(size[3] for size in self.sizes)

    def as_dict(self) -> dict[str, Any]:
        """Return what compare.json holds."""
        return {
            "schema": 2, "plan": json.loads(self.plan.canonical()), "plan_digest": self.plan.digest,
            "interval": f"95 %, percentiles of {NUM_RESAMPLES} resamples of held-out subjects",
            "about": dict(self.about), "num_held_out": self.num_held_out,
            "sites": [dict(zip(_SIZES, size, strict=True)) for size in self.sizes],
            "arms": [{"name": arm.name, "kind": arm.kind, "sites": list(arm.sites),
                      "sweep": arm.sweep, "seconds": round(seconds, 1)}
                     for arm, seconds in self.arms.items()],
            "verdict": self.verdict.lines, "measures": [as_dict(main) for main in self.mains],
            "results": [as_dict(one) for one in self.results],
            "differences": [as_dict(one) | {"winner": one.winner} for one in self.differences],
            "left_out": dict(self.left_out), "notes": list(self.notes),
            "domain_shift": [dict(zip(self.shift.header, row, strict=True))
                             for row in self.shift.rows],
        }
