"""A round of DP-SGD over subjects, against a naive one and against what its noise has to be."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from braing3n.data.examples import Example
from braing3n.dp_training import Mechanism, TrainedWithDP, drawn_views, train_round_with_dp
from braing3n.optimizer_plan import OptimizerPlan
from braing3n.plan import PretrainPlan
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy_plan import StagePrivacy
from braing3n.training import learning_rate
from braing3n.weights import load_weights

FEATURES = 3
# The share of C that is the gradient's, beside the loss's coordinate.
SHARE = (1 - 1e-6) / math.sqrt(1.01)


def volumes_of(subject: str, count: int) -> list[Example]:
    return [Example(subject, None, "T1w", f"{subject}-{number}", (0.0,) * 6) for number in range(count)]


SITE = [*volumes_of("sub-a", 1), *volumes_of("sub-b", 2), *volumes_of("sub-c", 4)]


class Regression:
    """A small network; each volume's inputs and target follow from its key, with no chance in them."""

    device = torch.device("cpu")

    def __init__(self, odd: str = "") -> None:
        torch.manual_seed(0)
        self.network: nn.Module = nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, 1))
        self.odd = odd  # a subject whose targets are no numbers
        self.drawn: list[tuple[str, ...]] = []

    def draw(self, batch: Sequence[Example], generator: torch.Generator) -> tuple[Tensor, ...]:
        torch.rand(7, generator=generator)  # masks of its own, which do not matter here
        self.drawn.append(tuple(example.key for example in batch))
        rows = [self._row(example) for example in batch]
        return torch.stack([row[:FEATURES] for row in rows]), torch.stack([row[-1] for row in rows])

    def _row(self, example: Example) -> Tensor:
        seed = sum(ord(letter) * 31**place for place, letter in enumerate(example.key)) % 2**31
        row = torch.randn(FEATURES + 1, generator=torch.Generator().manual_seed(seed))
        row[-1] *= 5
        return row * math.nan if example.subject == self.odd else row

    def losses(self, inputs: tuple[Tensor, ...]) -> Tensor:
        features, targets = inputs
        loss: Tensor = (self.network(features).squeeze(1) - targets).square()
        return loss


def plan(**change: object) -> PretrainPlan:
    fields = {"rounds": 2, "local_steps": 3, "batch_size": 2, "optimizer": OptimizerPlan(
        learning_rate=0.05, weight_decay=0.1, warmup_rounds=0.0), **change}
    return PretrainPlan(**fields)


def privacy(**change: float) -> StagePrivacy:
    return StagePrivacy(**{"noise_multiplier": 1e-9, "sample_rate": 1.0, "clip_norm": 0.5, "views": 4,
                           **change})


def train(folder: Path, how: StagePrivacy, objective: Regression | None = None, *,
          site: Sequence[Example] = SITE, num_subjects: int = 5, seed: int | None = 0,
          settings: PretrainPlan | None = None, round_index: int = 0) -> TrainedWithDP:
    objective = objective or Regression()
    return train_round_with_dp(
        objective, settings or plan(), start(), Mechanism(
            how, num_subjects, randomness=SecureRandom(seed)),
        examples=site, round_index=round_index, moments=folder)


def start() -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in Regression().network.state_dict().items()}


def naive(settings: PretrainPlan, how: StagePrivacy, num_subjects: int) -> dict[str, Tensor]:
    """Clip each subject's mean gradient, average over the public number, and step by AdamW, by hand."""
    objective = Regression()
    weights = {name: p.detach().double() for name, p in objective.network.named_parameters()}
    first = {name: torch.zeros_like(p) for name, p in weights.items()}
    second = {name: torch.zeros_like(p) for name, p in weights.items()}
    begin = {name: p.clone() for name, p in weights.items()}
    for step in range(settings.steps(0)):
        total = {name: torch.zeros_like(p) for name, p in weights.items()}
        for subject in ("sub-a", "sub-b", "sub-c"):
            objective.network.load_state_dict({name: p.float() for name, p in weights.items()})
            objective.network.zero_grad()
            own = [example for example in SITE if example.subject == subject]
            inputs = objective.draw(own, torch.Generator())
            objective.losses(inputs).mean().backward()
            gradients = {name: p.grad.double() for name, p in objective.network.named_parameters()}
            norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
            for name, gradient in gradients.items():
                total[name] += gradient * min(1.0, how.clip_norm * SHARE / norm)
        rate = learning_rate(settings.optimizer, settings.rounds, (step + 0.5) / settings.steps(0))
        for name, p in weights.items():
            gradient = total[name] / (how.sample_rate * num_subjects)
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.95 * second[name] + 0.05 * gradient.square()
            p.mul_(1 - rate * (settings.optimizer.weight_decay if p.ndim > 1 else 0.0))
            p.sub_(rate * (first[name] / (1 - 0.9 ** (step + 1))) / (
                (second[name] / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8))
    return {name: p - begin[name] for name, p in weights.items()}


def test_with_everybody_and_next_to_no_noise_a_round_is_a_naive_one(tmp_path: Path) -> None:
    trained = train(tmp_path, privacy())
    expected = naive(plan(), privacy(), 5)
    for name, update in trained.update.items():
        torch.testing.assert_close(update.double(), expected[name], rtol=1e-4, atol=1e-6)
    assert trained.in_house == {"subjects_drawn_a_step": 3.0, "not_finite": 0,
                                "clipped_share": pytest.approx(1.0)}


def test_the_loss_is_that_of_the_drawn_over_the_public_number(tmp_path: Path) -> None:
    """Losses are clipped to the bound of 2, and there are 3 subjects where the plan says 5."""
    trained = train(tmp_path, privacy(loss_bound=1e-6))
    assert trained.train_loss == pytest.approx(3 / 5 * 1e-6, rel=1e-4)
    assert len(trained.losses) == 3


def test_what_is_drawn_are_subjects_and_not_volumes(tmp_path: Path) -> None:
    objective = Regression()
    trained = train(tmp_path, privacy(sample_rate=0.3), objective,
                    settings=plan(local_steps=400))
    owners = [{key.rsplit("-", 1)[0] for key in keys} for keys in objective.drawn]
    assert all(len(one) == 1 for one in owners)
    times = {subject: sum(one == {subject} for one in owners)
             for subject in ("sub-a", "sub-b", "sub-c")}
    # Binomial with 400 draws: the subject of four volumes comes no more often than that of one.
    assert all(abs(count - 120) < 4.5 * math.sqrt(400 * 0.3 * 0.7) for count in times.values()), times
    assert trained.in_house["subjects_drawn_a_step"] == pytest.approx(sum(times.values()) / 400)


def test_each_of_a_subjects_volumes_is_seen_once_before_any_is_seen_again() -> None:
    objective = Regression()
    how = Mechanism(privacy(views=6), 5, randomness=SecureRandom(1))
    list(drawn_views(objective, [volumes_of("sub-c", 4)], how))
    (keys,) = objective.drawn
    assert len(keys) == 6
    assert len(set(keys[:4])) == 4


def test_an_empty_draw_is_a_step_of_noise_alone(tmp_path: Path) -> None:
    how, objective = privacy(sample_rate=1e-9, noise_multiplier=1.0, clip_norm=1e-6), Regression()
    trained = train(tmp_path, how, objective)
    assert objective.drawn == []
    assert len(trained.losses) == 3
    assert all(float(update.abs().max()) > 0 for update in trained.update.values())
    assert trained.in_house == {"subjects_drawn_a_step": 0.0, "clipped_share": 0.0, "not_finite": 0}


def test_a_nan_patient_gives_nothing(tmp_path: Path) -> None:
    odd = train(tmp_path / "odd", privacy(), Regression(odd="sub-b"))
    without = train(tmp_path / "without", privacy(), site=[e for e in SITE if e.subject != "sub-b"])
    for name, update in odd.update.items():
        torch.testing.assert_close(update, without.update[name], rtol=1e-4, atol=1e-6)
    assert odd.in_house["not_finite"] == 3  # steps


def noised_gradient_of(folder: Path) -> np.ndarray:
    """Return the released gradient of a first round of one step: AdamW's first moment is 0.1 of it."""
    kept = load_weights(folder / "00000.safetensors")
    moments = [tensor.flatten() for name, tensor in kept.items() if name.startswith("exp_avg/")]
    return torch.cat(moments).double().numpy() / 0.1


@pytest.mark.parametrize(("sigma", "rate", "clip", "public"), [
    (1.5, 0.25, 1.0, 16), (0.7, 1.0, 0.1, 40)])
def test_the_noise_of_a_step_is_sigma_c_over_q_n(
    tmp_path: Path, sigma: float, rate: float, clip: float, public: int
) -> None:
    how = privacy(noise_multiplier=sigma, sample_rate=rate, clip_norm=clip)
    found = []
    for seed in range(60):
        train(tmp_path / str(seed), how, site=[], num_subjects=public, seed=seed,
              settings=plan(local_steps=1))
        found.append(noised_gradient_of(tmp_path / str(seed)))
    numbers = np.concatenate(found)
    expected = sigma * clip / (rate * public)
    assert numbers.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * len(numbers)))
    assert numbers.mean() == pytest.approx(0.0, abs=5 * expected / math.sqrt(len(numbers)))


def test_one_subject_moves_a_released_gradient_by_c_over_q_n_at_most(tmp_path: Path) -> None:
    how, settings = privacy(noise_multiplier=1e-12, clip_norm=0.25), plan(local_steps=1)
    train(tmp_path / "whole", how, settings=settings)
    whole = noised_gradient_of(tmp_path / "whole")
    for subject in ("sub-a", "sub-b", "sub-c"):
        fewer = [example for example in SITE if example.subject != subject]
        train(tmp_path / subject, how, site=fewer, settings=settings)
        assert 0 < np.linalg.norm(whole - noised_gradient_of(tmp_path / subject)) <= 0.25 / 5


class Stream:
    """Draws everybody, and gives each one a seed of a list."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._seeds = list(seeds)

    def poisson_draw(self, count: int, sample_rate: float) -> list[int]:
        return list(range(count))

    def seed63(self) -> int:
        return self._seeds.pop(0)


class Masks(Regression):
    """Its inputs are which volumes were chosen, and a mask for each."""

    def draw(self, batch: Sequence[Example], generator: torch.Generator) -> tuple[Tensor, ...]:
        return torch.tensor([int(e.key[-1]) for e in batch]), torch.rand(len(batch), 5,
                                                                         generator=generator)


def test_a_subject_more_changes_nobody_elses_volumes_or_masks() -> None:
    three = [volumes_of(name, count) for name, count in (("sub-a", 3), ("sub-b", 1), ("sub-c", 4))]

    def views(subjects: list[list[Example]], seeds: Sequence[int]) -> list[tuple[Tensor, ...]]:
        how = Mechanism(privacy(), 5, randomness=Stream(seeds))  # type: ignore[arg-type]
        return list(drawn_views(Masks(), subjects, how))

    whole, fewer = views(three, [11, 22, 33]), views([three[0], three[2]], [11, 33])
    for ours, theirs in ((whole[0], fewer[0]), (whole[2], fewer[1])):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_two_rounds_of_the_same_give_other_noise_unless_a_test_seeds_it(tmp_path: Path) -> None:
    how = privacy(noise_multiplier=1.0, sample_rate=0.5)
    first, second = (train(tmp_path / str(n), how, seed=None).update["0.weight"] for n in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(train(tmp_path / "a", how).update["0.weight"],
                       train(tmp_path / "b", how).update["0.weight"])


def test_the_optimisers_moments_go_on_from_the_round_before(tmp_path: Path) -> None:
    train(tmp_path / "a", privacy())
    later = train(tmp_path / "a", privacy(), round_index=1)
    assert not torch.equal(later.update["0.weight"],
                           train(tmp_path / "b", privacy(), round_index=1).update["0.weight"])


def test_fedprox_costs_no_noise_and_pulls_back(tmp_path: Path) -> None:
    free = train(tmp_path / "a", privacy(), settings=plan(local_steps=40))
    held = train(tmp_path / "b", privacy(), settings=plan(local_steps=40, optimizer=OptimizerPlan(
        learning_rate=0.05, weight_decay=0.1, warmup_rounds=0.0, proximal_mu=10.0)))
    assert held.update["0.weight"].norm() < free.update["0.weight"].norm() / 2


def test_the_signal_to_noise_comes_from_what_is_released(tmp_path: Path) -> None:
    """It is that of the noised gradient alone, so it is the same for whoever sees that."""
    how, settings = privacy(noise_multiplier=0.05), plan(local_steps=1)
    trained = train(tmp_path, how, settings=settings)
    released = noised_gradient_of(tmp_path)
    noise = len(released) * (0.05 * 0.5 / 5) ** 2
    expected = math.sqrt(max(0.0, float(released @ released) - noise) / noise)
    assert trained.signal_to_noise == pytest.approx(expected, rel=1e-3)
    assert trained.signal_to_noise > 1
    assert train(tmp_path / "b", privacy(noise_multiplier=50.0)).signal_to_noise < 1


def test_a_round_says_how_far_it_is_with_noised_losses(tmp_path: Path) -> None:
    seen: list[tuple[int, int, float]] = []
    trained = train_round_with_dp(
        Regression(), plan(), start(), Mechanism(privacy(noise_multiplier=1.0), 5,
                                                 randomness=SecureRandom(0)),
        examples=SITE, round_index=0, moments=tmp_path, on_step=lambda *told: seen.append(told))
    assert [told[:2] for told in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [told[2] for told in seen] == list(trained.losses)
