"""Where stages begin: at fresh weights of the plan's seed, or at weights that were trained before."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braing3n.errors import ConfigError, DigestError
from braing3n.networks import part_like
from braing3n.plan import Plan, StageName
from braing3n.weights import State, check_digest, digest_state, layout_digest, load_weights
from server.stages import initial_weights

RECORD = "start.json"
_FIX = "give the run the folder that `braing3n sim warm-start` wrote, made with the same preset"


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
    if "diffusion" in plan.stage_names and not plan.gathers_moments:
        start_statistics(plan, folder)


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
    record = _record(folder, source, stage)
    return StageStart(source, _load(folder, record["stages"].get(stage), like, f"{source} weights for "
                                    f"{stage}", plan))


def start_statistics(plan: Plan, folder: Path | None) -> State:
    """Return the latent statistics that the weights for diffusion were trained with.

    They cost the sites nothing, and other ones would not fit those weights.

    Raises:
        ConfigError: They are missing, or of another source or network.
        DigestError: They are not what their record says.
    """
    source = plan.stages.diffusion.start
    record = _record(folder, source, "diffusion")
    return _load(folder, record.get("statistics"), part_like(plan, "statistics"),
                 "latent statistics for diffusion", plan)


def _record(folder: Path | None, source: str, stage: str) -> dict[str, Any]:
    """Return what the folder says of itself; it has weights of that source for the stage."""
    if folder is None:
        raise ConfigError(f"{stage} starts from {source} weights, and there are none", found="none",
                          expected="a folder with them: `--start DIR`", fix=_FIX)
    path = folder / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} holds no weights to start from", expected=f"a file {path}",
                          found="no such file", fix=_FIX) from error
    except (OSError, ValueError) as error:
        raise DigestError(f"{path} cannot be read", expected="what `braing3n sim warm-start` writes",
                          found="other content", fix=_FIX) from error
    stages = record.get("stages", {})
    if record.get("source") != source or stage not in stages:
        raise ConfigError(f"{folder} has no {source} weights for {stage}", expected=f"{source} weights",
                          found=f"{record.get('source')} weights for {', '.join(stages) or 'no stage'}",
                          fix=_FIX)
    return record


def _load(
    folder: Path | None, entry: dict[str, str] | None, like: State, what: str, plan: Plan
) -> State:
    """Return one of the folder's files, which must be what its record says, and fit the plan."""
    if folder is None or entry is None:
        raise ConfigError(f"{folder} has no {what}", expected="an entry for them in start.json",
                          found="none", fix=_FIX)
    weights = load_weights(folder / entry["file"])
    if layout_digest(weights) != layout_digest(like):
        raise ConfigError(f"the {what} in {folder} are of another network",
                          expected=f"preset {plan.preset}", found="other shapes", fix=_FIX)
    check_digest(weights, entry["digest"], what)
    return weights
