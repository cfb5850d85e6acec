"""What an empirical audit came to, for people and for programs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from braing3n.budget import EngineName
from braing3n.plan import StageName
from braing3n.presets import PresetName

# Of the histogram of norms over the clip norm.
_EDGES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, math.inf)


@dataclass(frozen=True)
class LowerBound:
    """A lower bound on ε.

    Attributes:
        epsilon: At the audit's confidence, by itself.
        judged: The same at this check's part of the false alarms; above the claim, the audit fails.
        assumes: In words, what the bound rests on.
    """

    epsilon: float
    judged: float
    assumes: str


@dataclass(frozen=True)
class Diagnostic:
    """A property of correct training that bounds may not see.

    Attributes:
        statistic: What was measured.
        expected: What it is in correct training.
        p_value: Probability of as much in correct training; None where chance has no part in it, or
            where there was nothing to judge.
        holds: Whether it is as it has to be.
        meaning: In words, what was measured.
    """

    statistic: float
    expected: float
    p_value: float | None
    holds: bool
    meaning: str


@dataclass(frozen=True)
class Claim:
    """What the training is claimed to keep.

    Attributes:
        epsilon: By the site's own accountant, of the steps that are planned, as a site charges them.
        delta: δ.
        noise_multiplier: σ.
        sample_rate: q.
        steps: All steps that are planned.
        rounds: Rounds, with a restart of everything between them.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    rounds: int


@dataclass(frozen=True)
class EmpiricalAudit:
    """The whole.

    Attributes:
        stage: What was trained.
        engine: How.
        preset: Size of the networks; None where the objective was the caller's own.
        claim: What was claimed.
        bounds: Lower bounds on ε by name.
        diagnostics: By name.
        canaries: How many, and how many of them were in the data.
        confidence: 1 − the probability that correct training fails the audit, all checks together.
        seed: Of everything.
        seconds: That it took.
        norms: Of drawn patients' gradients before clipping, over what they are clipped to; NaN for one
            that is not finite.
    """

    stage: StageName
    engine: EngineName
    preset: PresetName | None
    claim: Claim
    bounds: dict[str, LowerBound]
    diagnostics: dict[str, Diagnostic]
    canaries: tuple[int, int]
    confidence: float
    seed: int
    seconds: float
    norms: tuple[float, ...] = ()

    @property
    def norm_counts(self) -> dict[str, int]:
        """The histogram of `norms`; those above 1 were clipped."""
        counts = {f"{low:g} to {high:g}": sum(low <= norm < high for norm in self.norms)
                  for low, high in pairwise(_EDGES)}
        return counts | {"not finite": sum(not math.isfinite(norm) for norm in self.norms)}

    @property
    def caught_by(self) -> frozenset[str]:
        """The checks that failed."""
        return frozenset(
            [name for name, bound in self.bounds.items() if bound.judged > self.claim.epsilon]
            + [name for name, one in self.diagnostics.items() if not one.holds])

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against the claim."""
        return not self.caught_by

    @property
    def reasons(self) -> tuple[str, ...]:
        """In words, what speaks against the claim."""
        above = [f"{name}: an epsilon of at least {bound.judged:.2f}, where "
                 f"{self.claim.epsilon:.2f} is claimed ({bound.assumes})"
                 for name, bound in self.bounds.items() if name in self.caught_by]
        odd = [f"{name}: {one.meaning} is {one.statistic:.4g}, where it should be {one.expected:.4g}"
               for name, one in self.diagnostics.items() if name in self.caught_by]
        return (*above, *odd)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs; numbers that there are not are null."""
        return {
            "holds": self.holds, "reasons": list(self.reasons), "stage": self.stage,
            "engine": self.engine, "preset": self.preset, "unit": "subject",
            "claim": {key: _number(value) for key, value in vars(self.claim).items()},
            "bounds": {name: vars(bound) for name, bound in self.bounds.items()},
            "diagnostics": {name: {
                "holds": one.holds, "statistic": _number(one.statistic), "expected": one.expected,
                "p_value": _number(one.p_value), "meaning": one.meaning}
                for name, one in self.diagnostics.items()},
            "gradient_norms": self.norm_counts,
            "canaries": {"all": self.canaries[0], "included": self.canaries[1]},
            "confidence": self.confidence, "false_alarm_rate": 1 - self.confidence,
            "seed": self.seed, "seconds": round(self.seconds, 1)}


def audit_lines(audit: EmpiricalAudit) -> list[str]:
    """Return what is printed for people."""
    claim = audit.claim
    lines = [
        f"{audit.stage} with the engine {audit.engine}, {claim.steps} steps in {claim.rounds} rounds, "
        f"noise multiplier {claim.noise_multiplier:g}, sample rate {claim.sample_rate:g}",
        f"{audit.canaries[0]} canary patients, {audit.canaries[1]} of them in the data; "
        f"seed {audit.seed}; {audit.seconds:.0f} s",
        f"claimed:  epsilon {claim.epsilon:.3f} at delta {claim.delta:g}, for one patient",
        f"lower bounds on epsilon at {audit.confidence:.0%} confidence each:"]
    lines += _table([
        (name, f"{bound.epsilon:.3f}", "ABOVE" if bound.judged > claim.epsilon else "below",
         bound.assumes) for name, bound in audit.bounds.items()])
    lines.append("diagnostics:")
    lines += _table([(name, f"{one.statistic:.4g}", "holds" if one.holds else "FAILS",
                      f"{one.meaning}; {one.expected:.4g} is right") for name, one in
                     audit.diagnostics.items()])
    clipped = sum(norm > 1 for norm in audit.norms)
    lines.append(f"norms of drawn patients' gradients over the clip norm ({clipped} of "
                 f"{len(audit.norms)} were clipped): " + ", ".join(
                     f"{count} from {bin_}" if bin_ != "not finite" else f"{count} not finite"
                     for bin_, count in audit.norm_counts.items() if count))
    lines += [f"against it: {reason}" for reason in audit.reasons]
    lines.append(
        f"{'nothing speaks against the claim' if audit.holds else 'the claim does not hold'} (correct "
        f"training fails this audit at most {1 - audit.confidence:.1%} of the time)")
    return lines


def _table(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    width = max(len(row[0]) for row in rows)
    return [f"  {name:{width}}  {value:>8}  {verdict}  {words}" for name, value, verdict, words in rows]


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
