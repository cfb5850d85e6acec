import math

import pytest
import torch
from torch import Tensor

from braing3n.conditions import Conditions
from braing3n.models.flow import flow_loss, noisy, sample, sample_time, shift_time

NOTHING = Conditions().encode()
SHAPE = (4, 2, 3, 2)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unconditional(count: int) -> tuple[Tensor, Tensor]:
    return torch.tensor([NOTHING] * count), torch.zeros(count, 6, dtype=torch.bool)


def of_gaussian_data(mean: float, deviation: float) -> object:
    """The exact velocity E[noise − data | x] for data ~ N(mean, deviation²)."""
    def velocity(x: Tensor, time: Tensor, conditions: Tensor, hidden: Tensor) -> Tensor:
        t = time.view(-1, 1, 1, 1, 1)
        excess = (x - (1 - t) * mean) / ((1 - t) ** 2 * deviation**2 + t**2)
        return t * excess - mean - (1 - t) * deviation**2 * excess

    return velocity


def test_the_sampler_reaches_the_moments_of_gaussian_data() -> None:
    model, (conditions, _) = of_gaussian_data(1.5, 0.4), unconditional(500)
    latent = sample(model, conditions, randn(500, *SHAPE), 200, 1.0)  # type: ignore[arg-type]
    assert latent.mean().item() == pytest.approx(1.5, abs=0.02)
    assert latent.std().item() == pytest.approx(0.4, abs=0.02)


def test_one_step_along_a_constant_velocity_is_exact() -> None:
    noise, target = randn(2, *SHAPE), randn(2, *SHAPE, seed=1)
    latent = sample(lambda *_: noise - target, unconditional(2)[0], noise, 1, 1.0)
    torch.testing.assert_close(latent, target)


def test_the_perfect_velocity_has_no_loss_and_zero_costs_its_square() -> None:
    latent, noise, time = randn(3, *SHAPE), randn(3, *SHAPE, seed=1), torch.tensor([0.1, 0.5, 1])
    conditions, hidden = unconditional(3)
    perfect = flow_loss(lambda *_: noise - latent, latent, noise, time, conditions, hidden)
    assert perfect.tolist() == [0, 0, 0]
    zero = flow_loss(lambda x, *_: 0 * x, latent, noise, time, conditions, hidden)
    torch.testing.assert_close(zero, (noise - latent).square().mean(dim=(1, 2, 3, 4)))


def test_the_model_is_asked_on_the_straight_path() -> None:
    latent, noise = randn(3, *SHAPE), randn(3, *SHAPE, seed=1)
    points = noisy(latent, noise, torch.tensor([0.0, 1.0, 0.25]))
    assert torch.equal(points[0], latent[0])
    assert torch.equal(points[1], noise[1])
    torch.testing.assert_close(points[2], 0.75 * latent[2] + 0.25 * noise[2])


def test_guidance_goes_from_no_conditions_towards_them_and_beyond() -> None:
    noise, (conditions, _) = randn(2, *SHAPE), unconditional(2)
    calls = []

    def model(x: Tensor, time: Tensor, given: Tensor, hidden: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.where(hidden[:, 0].view(-1, 1, 1, 1, 1), 1.0, 4.0).expand_as(x)

    for guidance, velocity in ((0.0, 1.0), (1.0, 4.0), (1.5, 5.5), (3.0, 10.0)):
        torch.testing.assert_close(sample(model, conditions, noise, 3, guidance), noise - velocity)
    assert calls == [4] * 3 + [2] * 3 + [4] * 6


def test_a_row_does_not_depend_on_the_others() -> None:
    conditions, noise = unconditional(3)[0], randn(3, *SHAPE)

    def model(x: Tensor, time: Tensor, given: Tensor, hidden: Tensor) -> Tensor:
        return x.sin() * time.view(-1, 1, 1, 1, 1) + hidden.sum(dim=1).view(-1, 1, 1, 1, 1)

    together = sample(model, conditions, noise, 5, 2.0)
    for row in range(3):
        alone = sample(model, conditions[row : row + 1], noise[row : row + 1], 5, 2.0)
        torch.testing.assert_close(together[row : row + 1], alone)


def test_times_are_logit_normal_and_shifted_towards_noise() -> None:
    normal = randn(20_000)
    torch.testing.assert_close(sample_time(normal, 4096), normal.sigmoid())
    for dim in (1024, 9600, 76_800):
        s = math.sqrt(dim / 4096)
        # A shift multiplies the odds t / (1 − t) by s, and the median odds of a logit-normal are 1.
        assert sample_time(normal, dim).median().item() == pytest.approx(s / (1 + s), abs=0.01)
    ends = shift_time(torch.tensor([0.0, 1.0]), 76_800)
    assert ends.tolist() == [0, 1]


def test_a_code_that_the_model_does_not_know_is_refused_before_work() -> None:
    conditions = unconditional(1)[0]
    conditions[0, 1] = 2
    with pytest.raises(ValueError, match="sex cannot be 2"):
        sample(lambda x, *_: x, conditions, randn(1, *SHAPE), 1, 1.0)


def test_sampling_in_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step, not 0"):
        sample(lambda x, *_: x, unconditional(1)[0], randn(1, *SHAPE), 0, 1.0)
