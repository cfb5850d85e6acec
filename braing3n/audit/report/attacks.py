"""What empirical audits came to, as their answers for programs have it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from braing3n.errors import ConfigError
from braing3n.yaml_files import LenientModel


class AttackClaim(LenientModel):
    """What the training was claimed to keep; null where accountants have no number."""

    epsilon: float | None
    delta: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    rounds: int


class AttackBound(LenientModel):
    """A lower bound on ε: by itself, at its part of the false alarms, and what it rests on."""

    epsilon: float
    judged: float
    assumes: str


class AttackDiagnostic(LenientModel):
    """A property of correct training, and whether it was there."""

    holds: bool
    statistic: float | None
    expected: float
    p_value: float | None
    meaning: str


class Canaries(LenientModel):
    """Made patients: all of them, and those that were in the data."""

    all: int
    included: int


class AttackRecord(LenientModel):
    """The answer of `braing3n audit empirical --json`."""

    holds: bool
    reasons: tuple[str, ...]
    stage: str
    engine: str
    preset: str | None
    claim: AttackClaim
    bounds: dict[str, AttackBound]
    diagnostics: dict[str, AttackDiagnostic]
    canaries: Canaries
    confidence: float
    seed: int
    version: str = ""
    code_digest: str = ""
    time: str = ""

    @property
    def speaks_against(self) -> tuple[str, ...]:
        """What speaks against the claim, in words: as it says so, and as its numbers do."""
        above = [f"{name}: an epsilon of at least {bound.judged:.2f} is above the claim"
                 for name, bound in self.bounds.items()
                 if self.claim.epsilon is not None and bound.judged > self.claim.epsilon]
        failed = [f"{name} fails" for name, one in self.diagnostics.items() if not one.holds]
        return self.reasons or (*above, *failed, *([] if self.holds else ["it says that it fails"]))


@dataclass(frozen=True)
class Attack:
    """An empirical audit, and the file that it was read from."""

    path: Path
    record: AttackRecord


def load_attacks(paths: Sequence[Path]) -> Iterator[Attack]:
    """Read answers of `braing3n audit empirical --json`; a file may hold one, or a list of them.

    Raises:
        ConfigError: A file cannot be read, or holds something else.
    """
    for path in paths:
        try:
            told: Any = json.loads(path.read_text(encoding="utf-8"))
            yield from [Attack(path, AttackRecord.model_validate(one))
                        for one in (told if isinstance(told, list) else [told])]
        except (OSError, ValueError, ValidationError, RecursionError) as error:
            found = (error.errors()[0] if isinstance(error, ValidationError) else None)
            raise ConfigError(
                f"{path} is no empirical audit", expected="the answer of `braing3n audit empirical "
                "--json`", found=str(error) if found is None else
                f"`{'.'.join(map(str, found['loc']))}`: {found['msg']}",
                fix="run it again, with its output going to this file") from error
