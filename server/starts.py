"""Where stages begin: at fresh weights of the plan's seed, or at weights that were trained before."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braing3n.errors import ConfigError, DigestError
from braing3n.plan import Plan, StageName
from braing3n.weights import State, check_digest, digest_state, layout_digest, load_weights
from server.stages import initial_weights

RECORD = "start.json"


@dataclass(frozen=True)
class StageStart:
    """A stage's first global weights.

    Attributes:
        source: As the plan says: `fresh`, `phantom` or `public`.
        weights: Them.
    """

    source: str
    weights: State

    def as_json(self) -> dict[str, str]:
        """Return what run.json says of it."""
        return {"source": self.source, "digest": digest_state(self.weights)}


def check_starts(plan: Plan, folder: Path | None) -> None:
    """Check that all weights that a plan starts from are there, before a run begins.

    Raises:
        ConfigError: Some are missing, or of another source or network.
        DigestError: Some are not what their record says.
    """
    for name in plan.stage_names:
        if plan.stage(name).start != "fresh":  # fresh weights are made when their stage begins
            start_of(plan, name, folder)


def start_of(plan: Plan, stage: StageName, folder: Path | None) -> StageStart:
    """Return a stage's first global weights.

    Args:
        plan: Says where the stage starts.
        stage: The stage.
        folder: What `braing3n sim warm-start` wrote, or the same for a public cohort.

    Raises:
        ConfigError: The weights are missing, or of another source or network.
        DigestError: They are not what their record says.
    """
    like, source = initial_weights(plan, stage), plan.stage(stage).start
    if source == "fresh":
        return StageStart(source, like)
    fix = "give the run the folder that `braing3n sim warm-start` wrote, made with the same preset"
    if folder is None:
        raise ConfigError(f"{stage} starts from {source} weights, and there are none", found="none",
                          expected="a folder with them: `--start DIR`", fix=fix)
    record = _record(folder / RECORD, fix)
    entry = record.get("stages", {}).get(stage)
    if record.get("source") != source or entry is None:
        raise ConfigError(f"{folder} has no {source} weights for {stage}", expected=f"{source} weights",
                          found=f"{record.get('source')} weights for "
                                f"{', '.join(record.get('stages', {})) or 'no stage'}", fix=fix)
    weights = load_weights(folder / str(entry["file"]))
    if layout_digest(weights) != layout_digest(like):
        raise ConfigError(f"the weights for {stage} in {folder} are of another network",
                          expected=f"preset {plan.preset}", found=f"preset {record.get('preset')}",
                          fix=fix)
    check_digest(weights, str(entry["digest"]), f"start of {stage}")
    return StageStart(source, weights)


def _record(path: Path, fix: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path.parent} holds no weights to start from", expected=f"a file {path}",
                          found="no such file", fix=fix) from error
    except (OSError, ValueError) as error:
        raise DigestError(f"{path} cannot be read", expected="what `braing3n sim warm-start` writes",
                          found="other content", fix=fix) from error
    return record
