import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from braing3n.plan import load_plan
from simulation.compare.arms import Asked, choose_arms
from simulation.compare.progress import ArmsProgress
from simulation.run import PLANS


def record(folder: Path, status: str, *stages: tuple[str, int, int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"status": status, "stages": [
        {"name": name, "rounds": rounds, "participation": [{}] * done}
        for name, done, rounds in stages]}))


def test_time_left_counts_an_arm_by_the_sites_that_work_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pooled, federated and two local arms, half of pooled and one local are 2 of 6 parts."""
    plan = load_plan(PLANS / "compare.yaml")
    rounds = [plan.stage(name).rounds for name in plan.stage_names]
    arms = choose_arms(plan, ("a", "b"), Asked())
    text = io.StringIO()
    clock = iter([100.0, 160.0, 160.0])
    monkeypatch.setattr("simulation.compare.progress.time.monotonic", clock.__next__)
    progress = ArmsProgress(tmp_path, plan, arms, Console(file=text, width=200))
    record(tmp_path / "arms/pooled", "running", ("pretrain", sum(rounds) // 2, rounds[0]))
    record(tmp_path / "arms/local-a", "completed", ("pretrain", rounds[0], rounds[0]))
    progress.update()
    # In a minute a third was done.
    assert "1/4 arms trained, about 2 min left pooled pretrain round" in text.getvalue()


def test_a_record_that_is_half_written_is_passed_over(tmp_path: Path) -> None:
    plan = load_plan(PLANS / "compare.yaml")
    arms = choose_arms(plan, ("a", "b"), Asked())
    folder = tmp_path / "arms/pooled"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"status": "runn')
    with ArmsProgress(tmp_path, plan, arms, Console(file=io.StringIO())) as progress:
        progress.update()
