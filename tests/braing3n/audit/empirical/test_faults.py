"""Deliberately broken training, each way caught by the checks that are named.

Faults are put into the real code where it would be broken. What catches one is compared as a whole, so
that a check that is removed, or no longer sees the fault, fails the test.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from braing3n import dp_training
from braing3n.audit.empirical.result import EmpiricalAudit
from braing3n.dp_training import TrainedWithDP, drawn_views, train_round_with_dp
from braing3n.privacy.clipping import ClippedSum
from braing3n.privacy.dpsgd import Noised, noised_gradient
from braing3n.privacy.noise import SecureRandom
from braing3n.training import Trained, train_round

ALL_BOUNDS = {"one_run", "one_run_gaussian", "clopper_pearson", "gaussian_fit"}
Audit = Callable[..., EmpiricalAudit]


def scale_noise(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    real = SecureRandom.gaussians
    monkeypatch.setattr(SecureRandom, "gaussians", lambda self, count: factor * real(self, count))


def replace_step(
    monkeypatch: pytest.MonkeyPatch, other: Callable[[list[tuple[Tensor, ...]], SecureRandom], Any]
) -> None:
    """Let each step be noised by `other(drawn, randomness)`."""

    def step(network: Any, losses: Any, subjects: Any, *, randomness: Any, **rest: Any) -> Noised:
        drawn = list(subjects)
        return noised_gradient(network, losses, drawn, randomness=other(drawn, randomness), **rest)

    monkeypatch.setattr(dp_training, "noised_gradient", step)


class Scaled:
    """Noise times a factor."""

    def __init__(self, randomness: SecureRandom, factor: float) -> None:
        self._randomness, self._factor = randomness, factor

    def gaussians(self, count: int) -> np.ndarray:
        return self._factor * self._randomness.gaussians(count)


def test_correct_training_is_not_accused(small_audit: Audit) -> None:
    audit = small_audit()
    assert audit.holds, audit.reasons
    assert 7 < audit.claim.epsilon < 9
    assert audit.bounds["gaussian_fit"].epsilon > 4.5


def test_no_noise_is_caught(small_audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    scale_noise(monkeypatch, 0.0)
    audit = small_audit()
    assert audit.caught_by == {"noise_scale", "noise_places", "loss_noise", "gaussian_fit"}
    assert audit.diagnostics["noise_scale"].statistic < 0.001
    assert not audit.holds


def test_no_noise_where_little_is_claimed_is_caught_by_every_bound(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 200 canaries, what the weaker bounds can show at all is an ε of about 2 or 3."""
    scale_noise(monkeypatch, 0.0)
    audit = small_audit(noise_multiplier=6.0)
    assert audit.claim.epsilon == pytest.approx(1.0, abs=0.1)
    assert audit.caught_by == {*ALL_BOUNDS, "noise_scale", "noise_places", "loss_noise"}


def test_three_times_the_steps_that_are_charged_are_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dp_training.train_round_with_dp
    plain = small_audit("diffusion", steps=20, canaries=64)

    def train(objective: Any, plan: Any, *rest: Any, **named: Any) -> TrainedWithDP:
        longer = plan.model_copy(update={"local_steps": 3 * plan.local_steps})
        return real(objective, longer, *rest, **named)

    monkeypatch.setattr(dp_training, "train_round_with_dp", train)
    audit = small_audit("diffusion", steps=20, canaries=64)
    assert audit.caught_by == {"steps"}
    assert audit.diagnostics["steps"].statistic == 3
    assert audit.claim.steps == 20
    assert audit.claim.epsilon == pytest.approx(plain.claim.epsilon)


def test_half_the_noise_is_caught(small_audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    scale_noise(monkeypatch, 0.5)
    audit = small_audit()
    assert audit.caught_by == {"noise_scale", "noise_places", "loss_noise", "gaussian_fit"}
    assert audit.diagnostics["noise_scale"].statistic == pytest.approx(0.5, abs=0.05)


def test_noise_over_the_drawn_batch_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_step(monkeypatch, lambda drawn, randomness: Scaled(randomness, 1 / max(1, len(drawn))))
    audit = small_audit()
    assert audit.caught_by == {"noise_scale", "noise_places", "noise_denominator", "loss_noise",
                               "gaussian_fit"}
    assert audit.diagnostics["noise_denominator"].statistic == pytest.approx(-1, abs=0.1)


def test_no_clipping_is_caught(small_audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ClippedSum.weigh
    monkeypatch.setattr(ClippedSum, "weigh", lambda self, losses, squares: [
        float(factor > 0) for factor in real(self, losses, squares)])
    audit = small_audit()
    assert audit.caught_by == {"reach", "sum", "signal", "noise_places", "noise_lag", "gaussian_fit"}
    assert audit.diagnostics["reach"].statistic > 9


def test_no_clipping_in_the_other_engine_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the audit with canaries that run through the network, whose gradients nobody chose."""
    real = ClippedSum.weigh
    monkeypatch.setattr(ClippedSum, "weigh", lambda self, losses, squares: [
        float(factor > 0) for factor in real(self, losses, squares)])
    audit = small_audit(engine="bookkeeping", steps=20, canaries=60)
    assert audit.caught_by == {"reach", "sum", "signal"}
    assert audit.diagnostics["reach"].statistic > 2


def test_clipping_each_volume_and_not_each_patient_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def volumes(*args: Any) -> Iterator[tuple[Tensor, ...]]:
        for inputs in drawn_views(*args):
            for row in range(len(inputs[0])):
                yield tuple(part[row : row + 1] for part in inputs)

    monkeypatch.setattr(dp_training, "drawn_views", volumes)
    audit = small_audit(views=4)
    assert audit.caught_by == {"signal", "noise_places", "loss_noise", "gaussian_fit"}


def test_shuffled_batches_accounted_as_poisson_are_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, order = np.random.default_rng(0), list[int]()

    def shuffled(self: SecureRandom, count: int, sample_rate: float) -> list[int]:
        size = round(sample_rate * count)
        if len(order) < size:
            order[:] = rng.permutation(count).tolist()
        return [order.pop() for _ in range(size)]

    monkeypatch.setattr(SecureRandom, "poisson_draw", shuffled)
    assert small_audit().caught_by == {"batch_sizes", "turns"}


def test_noise_that_is_drawn_once_a_round_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: dict[SecureRandom, int] = {}
    replace_step(monkeypatch, lambda drawn, randomness: SecureRandom(
        seeds.setdefault(randomness, len(seeds))))
    audit = small_audit()
    assert audit.caught_by == {"noise_lag", "noise_repeats", "noise_places", "loss_noise"}


def test_noise_that_comes_back_much_later_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where every restart begins the same stream again."""
    real = dp_training.train_round_with_dp

    def train(*args: Any, **rest: Any) -> TrainedWithDP:
        objective, plan, start, mechanism = args
        return real(objective, plan, start, replace(mechanism, randomness=SecureRandom(5)), **rest)

    monkeypatch.setattr(dp_training, "train_round_with_dp", train)
    audit = small_audit()
    assert audit.caught_by == {"noise_repeats", "turns"}


def test_the_same_seed_in_every_step_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(objective: Any, subjects: Sequence[Any], mechanism: Any) -> Iterator[tuple[Tensor, ...]]:
        return drawn_views(objective, subjects, replace(mechanism, randomness=SecureRandom(5)))

    monkeypatch.setattr(dp_training, "drawn_views", same)
    replace_step(monkeypatch, lambda drawn, randomness: SecureRandom(6))
    audit = small_audit()
    assert audit.caught_by == {"noise_lag", "noise_repeats", "noise_places", "loss_noise", "signal",
                               "turns", "batch_sizes"}
    assert audit.diagnostics["noise_lag"].statistic > 0.99


def test_dp_that_is_off_after_a_restart_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second round, with new objects and the first one's moments, is trained without DP."""

    def train(*args: Any, round_index: int, **rest: Any) -> Trained:
        if round_index == 0:
            return train_round_with_dp(*args, round_index=round_index, **rest)
        return train_round(*args[:3], round_index=round_index, seed=0, **rest)

    monkeypatch.setattr(dp_training, "train_round_with_dp", train)
    audit = small_audit()
    assert audit.caught_by == {"noise_scale", "noise_places", "noise_lag", "noise_repeats",
                               "noise_denominator", "loss_noise", "signal", "batch_sizes", "turns"}
    assert audit.diagnostics["noise_scale"].statistic < 0.1


def test_a_loss_that_is_released_without_noise_is_caught(
    small_audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds on gradients cannot see it."""
    real = SecureRandom.gaussians
    monkeypatch.setattr(SecureRandom, "gaussians", lambda self, count: (
        np.zeros(1) if count == 1 else real(self, count)))
    assert small_audit().caught_by == {"loss_noise"}
