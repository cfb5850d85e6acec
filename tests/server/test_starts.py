import json
from pathlib import Path

import pytest
import torch

from braing3n.errors import ConfigError, DigestError
from braing3n.networks import part_like
from braing3n.plan import load_plan
from braing3n.weights import digest_state, save_weights
from server.stages import initial_weights
from server.starts import RECORD, check_starts, start_of, start_statistics
from simulation.run import PLANS

FROM_PHANTOM = load_plan(PLANS / "demo.yaml", "stages.pretrain.start=phantom")


def write_start(folder: Path, source: str = "phantom", **change: object) -> dict[str, torch.Tensor]:
    weights = {name: tensor + 1 for name, tensor in initial_weights(FROM_PHANTOM, "pretrain").items()}
    save_weights(folder / "pretrain.safetensors", weights)
    entry = {"file": "pretrain.safetensors", "digest": digest_state(weights), **change}
    (folder / RECORD).write_text(json.dumps(
        {"source": source, "preset": "nano", "stages": {"pretrain": entry}}))
    return weights


def test_a_stage_starts_from_the_weights_that_its_plan_names(tmp_path: Path) -> None:
    weights = write_start(tmp_path)
    start = start_of(FROM_PHANTOM, "pretrain", tmp_path)
    assert start.as_json() == {"source": "phantom", "digest": digest_state(weights)}
    fresh = start_of(FROM_PHANTOM, "decoder", tmp_path)
    assert fresh.source == "fresh"
    assert digest_state(fresh.weights) == digest_state(initial_weights(FROM_PHANTOM, "decoder"))


def test_weights_that_are_missing_are_told_before_a_run_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="starts from phantom weights"):
        check_starts(FROM_PHANTOM, None)
    with pytest.raises(ConfigError, match="holds no weights to start from"):
        check_starts(FROM_PHANTOM, tmp_path)


def test_weights_of_another_source_are_refused(tmp_path: Path) -> None:
    write_start(tmp_path, source="public")
    with pytest.raises(ConfigError, match="has no phantom weights for pretrain"):
        check_starts(FROM_PHANTOM, tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    write_start(tmp_path)
    save_weights(tmp_path / "pretrain.safetensors", {"other": torch.zeros(3)})
    with pytest.raises(ConfigError, match="of another network"):
        check_starts(FROM_PHANTOM, tmp_path)


def test_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    write_start(tmp_path, digest="0" * 64)
    with pytest.raises(DigestError):
        check_starts(FROM_PHANTOM, tmp_path)


def test_a_record_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(DigestError, match="cannot be read"):
        check_starts(FROM_PHANTOM, tmp_path)


def write_all(folder: Path) -> None:
    plan = load_plan(PLANS / "demo-dp.yaml")
    made = {stage: initial_weights(plan, stage) for stage in plan.stage_names}
    for name, weights in made.items():
        save_weights(folder / f"{name}.safetensors", weights)
    (folder / RECORD).write_text(json.dumps({"source": "phantom", "preset": "nano", "stages": {
        name: {"file": f"{name}.safetensors", "digest": digest_state(weights)}
        for name, weights in made.items()}}))


def test_weights_for_diffusion_come_with_the_statistics_of_the_latents_they_are_for(
    tmp_path: Path
) -> None:
    plan = load_plan(PLANS / "demo-dp.yaml")
    write_all(tmp_path)
    with pytest.raises(ConfigError, match="has no latent statistics"):
        check_starts(plan, tmp_path)
    statistics = {name: torch.rand(like.shape) for name, like in part_like(plan, "statistics").items()}
    save_weights(tmp_path / "statistics.safetensors", statistics)
    record = json.loads((tmp_path / RECORD).read_text())
    record["statistics"] = {"file": "statistics.safetensors", "digest": digest_state(statistics)}
    (tmp_path / RECORD).write_text(json.dumps(record))
    check_starts(plan, tmp_path)
    assert digest_state(start_statistics(plan, tmp_path)) == digest_state(statistics)


def test_a_plan_that_starts_fresh_needs_no_folder() -> None:
    check_starts(load_plan(PLANS / "demo.yaml"), None)
