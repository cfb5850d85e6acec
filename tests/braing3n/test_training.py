from math import cos, pi
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from braing3n.data.examples import Example
from braing3n.errors import DivergedError
from braing3n.optimizer_plan import OptimizerPlan
from braing3n.plan import PretrainPlan
from braing3n.training import batches, learning_rate, seed_for, thin, train_round


def example(number: int) -> Example:
    return Example(subject=f"sub-{number}", session=None, modality="T1w", key=str(number),
                   conditions=(0.0,) * 6)


EXAMPLES = [example(number) for number in range(7)]


class Line:
    """A toy objective: each example pulls the weight towards its number."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.network = nn.Linear(1, 1)

    def draw(self, batch: list[Example], generator: torch.Generator) -> tuple[Tensor, ...]:
        targets = torch.tensor([float(e.key) for e in batch])
        return targets, torch.randn(len(batch), generator=generator)

    def losses(self, inputs: tuple[Tensor, ...]) -> Tensor:
        targets, noise = inputs
        return (self.network.weight.squeeze() + 0.1 * noise - targets).square()


def plan(**change: object) -> PretrainPlan:
    fields = {"rounds": 4, "local_steps": 5, "batch_size": 3,
              "optimizer": OptimizerPlan(learning_rate=0.1, warmup_rounds=0.0, clip_norm=1e6), **change}
    return PretrainPlan(**fields)


def start() -> dict[str, Tensor]:
    return {"weight": torch.zeros(1, 1), "bias": torch.zeros(1)}


def train(folder: Path, round_index: int = 0, weights: dict | None = None, **change: object) -> Tensor:
    trained = train_round(Line(), plan(**change), weights or start(), examples=EXAMPLES,
                          round_index=round_index, seed=round_index, moments=folder)
    return trained.update["weight"]


def test_every_example_is_seen_once_before_any_is_seen_again() -> None:
    drawn = list(batches(EXAMPLES, 3, 7, torch.Generator().manual_seed(0)))
    seen = [e.key for batch in drawn for e in batch]
    assert sorted(seen[:7]) == sorted(e.key for e in EXAMPLES)
    assert all(len(batch) == 3 for batch in drawn)


def test_a_site_smaller_than_a_batch_uses_all_it_has() -> None:
    drawn = list(batches(EXAMPLES[:2], 8, 3, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in drawn] == [2, 2, 2]


def test_the_learning_rate_warms_up_linearly_and_falls_on_a_cosine_to_zero() -> None:
    settings = OptimizerPlan(learning_rate=2.0, warmup_rounds=1.0)
    assert learning_rate(settings, 5, 0.5) == 1.0
    assert learning_rate(settings, 5, 1.0) == 2.0
    assert learning_rate(settings, 5, 3.0) == pytest.approx(2 * (1 + cos(pi / 2)) / 2)
    assert learning_rate(settings, 5, 5.0) == pytest.approx(0.0)
    assert learning_rate(OptimizerPlan(learning_rate=2.0, warmup_rounds=9), 5, 4.5) == 1.0


def test_no_step_of_a_round_is_without_effect(tmp_path: Path) -> None:
    assert train(tmp_path, rounds=1, local_steps=1).abs() > 0


def test_the_update_is_local_minus_global_weights(tmp_path: Path) -> None:
    objective = Line()
    weights = {"weight": torch.full((1, 1), 2.0), "bias": torch.zeros(1)}
    trained = train_round(objective, plan(), weights, examples=EXAMPLES, round_index=0, seed=0,
                          moments=tmp_path)
    torch.testing.assert_close(trained.update["weight"], objective.network.weight.detach() - 2)
    assert len(trained.losses) == 5


def test_moments_persist_between_rounds_and_a_repeated_round_starts_from_the_same(
    tmp_path: Path,
) -> None:
    train(tmp_path / "a")
    first = train(tmp_path / "a", round_index=1)
    assert torch.equal(train(tmp_path / "a", round_index=1), first)
    assert not torch.equal(train(tmp_path / "b", round_index=1), first)  # without moments
    train(tmp_path / "a", round_index=2)
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_fedprox_pulls_back_to_the_global_weights(tmp_path: Path) -> None:
    free = train(tmp_path / "a", local_steps=30)
    held = train(tmp_path / "b", local_steps=30, optimizer=OptimizerPlan(
        learning_rate=0.1, warmup_rounds=0.0, proximal_mu=50.0))
    assert held.abs() < free.abs() / 3


def test_a_loss_that_is_not_finite_ends_the_round(tmp_path: Path) -> None:
    weights = {"weight": torch.full((1, 1), 1e30), "bias": torch.zeros(1)}
    with pytest.raises(DivergedError, match="diverged"):
        train(tmp_path, weights=weights)
    assert not list(tmp_path.iterdir())


class Cliff(Line):
    """Its loss is finite at the start, and the slope of it is not."""

    def losses(self, inputs: tuple[Tensor, ...]) -> Tensor:
        return self.network.weight.squeeze().sqrt().expand(len(inputs[0]))


def test_a_gradient_that_is_not_finite_leaves_no_moments_behind(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="diverged"):
        train_round(Cliff(), plan(), start(), examples=EXAMPLES, round_index=0, seed=0,
                    moments=tmp_path)
    assert not list(tmp_path.iterdir())


def test_seeds_depend_on_every_part() -> None:
    seeds = {seed_for(0, "a", 1), seed_for(0, "a", 2), seed_for(1, "a", 1), seed_for(0, "b", 1)}
    assert len(seeds) == 4
    assert seed_for(0, "a", 1) == seed_for(0, "a", 1) < 2**63


def test_thinned_losses_are_means_of_stretches() -> None:
    assert thin([1, 2, 3, 4, 5, 6], 3) == (1.5, 3.5, 5.5)
    assert thin([1.0, 2.0], 64) == (1.0, 2.0)
    assert thin([], 4) == ()


def test_a_file_that_a_killed_site_left_half_written_is_passed_over(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "killed")
    (tmp_path / "killed" / f".{'0' * 32}.00001.safetensors").write_bytes(b"half")
    expected, found = (train(tmp_path / name, round_index=1) for name in ("whole", "killed"))
    assert torch.equal(found, expected)
