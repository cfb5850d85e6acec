"""Weights to start from that cost no privacy: trained on synthetic brains of other sites alone."""

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from braing3n.files import write_text
from braing3n.plan import STAGE_NAMES, Part, Plan, StageName, load_plan
from braing3n.weights import digest_state, load_weights, save_weights
from server.starts import RECORD
from simulation.grid import run_locally
from simulation.phantom.write import write_phantom
from simulation.pooled import pool_folders
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

PLAN = Path(__file__).parent / "plans" / "warm-start.yaml"
# Far from any seed that people give: the brains and scanners of a run must not be among these.
SEED = 990_001
NUM_SITES = 8
NUM_SUBJECTS = 240


def make_warm_start(
    out: Path, plan: Plan, *, seed: int = SEED, subjects: int = NUM_SUBJECTS, own: Path = PLAN,
    sweep: str = "", progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Train the stages of a plan on the phantom, without DP, and keep what they end with.

    Where `out` holds the same, interrupted, it goes on; where it is whole, nothing is done.

    Args:
        out: Folder for start.json and the weights; the training's own run is in `run/` below it.
        plan: What is to start there: its preset and its stages count.
        seed: Of the synthetic people and scanners.
        subjects: How many, over all sites.
        own: The plan of this training.
        sweep: Replacements in it.
        progress: Called with (subjects made, all) while the cohort is made.

    Returns:
        `out`.
    """
    if (out / RECORD).exists():
        return out
    if not (out / "phantom").exists():
        write_phantom(out / "phantom", sites=NUM_SITES, subjects=subjects, seed=seed, progress=progress)
    full = f"{sweep} preset={plan.preset} last_stage={_last_needed(plan)}"
    folders = find_site_folders(out / "phantom")
    sites = write_site_files(pool_folders(folders, out), out / "run")
    run_locally(own, sites, out / "run", sweep=full)
    stages = {stage: _keep(out, stage, _ended_with(out / "run", stage))
              for stage in load_plan(own, full).stage_names}
    record = {"schema": 1, "source": "phantom", "preset": plan.preset, "seed": seed,
              "subjects": subjects, "plan": yaml.safe_load((out / "run" / "plan.yaml").read_text()),
              "stages": stages}
    if "diffusion" in stages:  # its weights are for latents that these normalise
        record["statistics"] = _keep(out, "statistics", _model(out / "run", "statistics"))
    write_text(out / RECORD, json.dumps(record, indent=1) + "\n")
    return out


def _keep(out: Path, name: str, source: Path) -> dict[str, str]:
    """Copy weights to where runs look for them, and return what the record says of them."""
    weights = load_weights(source)
    save_weights(out / f"{name}.safetensors", weights)
    return {"file": f"{name}.safetensors", "digest": digest_state(weights)}


def _last_needed(plan: Plan) -> StageName:
    """Return the last stage of a plan that starts from phantom weights."""
    needed = [name for name in plan.stage_names if plan.stage(name).start == "phantom"]
    return needed[-1] if needed else STAGE_NAMES[0]


def _ended_with(run: Path, stage: StageName) -> Path:
    """Return the file of what a stage's network ended with; the autoencoder's is no model's."""
    if stage == "pretrain":
        return max((run / "rounds" / stage).glob("round-*.safetensors"))
    return _model(run, "decoder" if stage == "decoder" else "dit")


def _model(run: Path, part: Part) -> Path:
    return run / "model" / f"{part}.safetensors"
