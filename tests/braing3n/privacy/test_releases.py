"""What leaves once: noise as wide as it says, and no subject weighs more than it may."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from braing3n.privacy.noise import SecureRandom
from braing3n.privacy.releases import (
    METRIC_RANGES,
    gaussian_sum,
    noised_count,
    noised_metrics,
    noised_moments,
)

# So little noise that what is below it can be read off.
TINY = 1e-12
NAMES = ("loss", "trivial_loss")


class Silent(SecureRandom):
    """No noise at all."""

    def gaussians(self, count: int) -> np.ndarray:
        return np.zeros(count)


def test_the_noise_of_a_sum_is_normal_and_as_wide_as_it_says() -> None:
    found = gaussian_sum([], 100_000, 3.0, SecureRandom(0))
    assert float(found.mean()) == pytest.approx(0.0, abs=5 * 3 / math.sqrt(100_000))
    assert float(found.std()) == pytest.approx(3.0, rel=5 / math.sqrt(2 * 100_000))
    assert float((found.abs() > 3 * 1.959964).double().mean()) == pytest.approx(0.05, abs=0.004)


def test_a_sum_is_that_of_vectors_that_are_short_enough() -> None:
    vectors = [torch.tensor([0.6, 0.0]), torch.tensor([0.0, -0.8])]
    found = gaussian_sum(vectors, 2, TINY, SecureRandom(0))
    assert found.tolist() == pytest.approx([0.6, -0.8], abs=1e-6)


# What a float32 tensor can hold, the odd ones included.
NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(NUMBERS, min_size=1, max_size=12), st.integers(0, 2**31))
def test_no_subject_moves_a_sum_by_more_than_1(numbers: list[float], seed: int) -> None:
    others = [torch.full((len(numbers),), 0.1)]
    with_it = gaussian_sum([*others, torch.tensor(numbers)], len(numbers), 2.0, SecureRandom(seed))
    without = gaussian_sum(others, len(numbers), 2.0, SecureRandom(seed))
    assert float((with_it - without).norm()) <= 1.0


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_vector_that_is_not_finite_adds_nothing(odd: float) -> None:
    vectors = [torch.tensor([0.5, 0.5]), torch.tensor([0.1, odd])]
    found = gaussian_sum(vectors, 2, TINY, SecureRandom(0))
    assert found.tolist() == pytest.approx([0.5, 0.5], abs=1e-9)


def test_a_noised_count_is_as_wide_as_its_noise_and_at_least_1() -> None:
    counts = [noised_count(25, 4.0, SecureRandom(seed)) for seed in range(800)]
    assert np.mean(counts) == pytest.approx(25, abs=5 * 4 / math.sqrt(800))
    assert np.std(counts) == pytest.approx(math.sqrt(16 + 1 / 12), rel=0.12)  # and rounded
    assert min(noised_count(0, 4.0, SecureRandom(seed)) for seed in range(50)) == 1


# --- metrics -----------------------------------------------------------------------------------

def metrics_of(values: list[float]) -> list[dict[str, float]]:
    return [{"loss": value, "trivial_loss": 1.5} for value in values]


def test_metrics_are_means_over_subjects_where_there_is_no_noise_to_speak_of() -> None:
    found = noised_metrics(metrics_of([0.2, 0.4, 0.9]), NAMES, TINY, SecureRandom(0))
    assert found == pytest.approx({"loss": 0.5, "trivial_loss": 1.5}, abs=1e-5)


def test_metrics_are_within_their_ranges_however_wide_the_noise() -> None:
    for seed in range(100):
        found = noised_metrics(metrics_of([0.5]), NAMES, 50.0, SecureRandom(seed))
        assert all(METRIC_RANGES[name][0] <= value <= METRIC_RANGES[name][1]
                   for name, value in found.items())


def test_metrics_come_near_the_truth_for_many_subjects() -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.6, size=2000)
    found = [noised_metrics(metrics_of(values.tolist()), NAMES, 4.0, SecureRandom(seed))["loss"]
             for seed in range(20)]
    # Noise of a sum: 2 · σ · √3 a metric; of a count the same without the 2, times the mean.
    assert np.mean(found) == pytest.approx(values.mean(), abs=0.004)
    assert 0.001 < np.std(found) < 0.02


def test_no_site_of_any_size_names_other_metrics() -> None:
    assert noised_metrics([], NAMES, 4.0, SecureRandom(0)).keys() == set(NAMES)


def test_a_metric_that_depends_on_other_subjects_has_no_range_and_is_not_given() -> None:
    """The mean volume is of all training subjects: one of them moves every subject's number."""
    told = [{"psnr": 20.0, "ssim": 0.5, "mean_volume_psnr": 15.0}]
    found = noised_metrics(told, told[0], TINY, SecureRandom(0))
    assert found.keys() == {"psnr", "ssim"}


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True, allow_infinity=True))
def test_no_subject_weighs_more_in_metrics_than_in_a_count(loss: float, trivial: float) -> None:
    caught: list[Tensor] = []

    class Catching(Silent):
        def gaussians(self, count: int) -> np.ndarray:
            caught.append(torch.zeros(count))
            return np.zeros(count)

    others = [{"loss": 1.0, "trivial_loss": 1.0}] * 4  # the middle of what they are clipped to
    before = noised_metrics(others, NAMES, 1.0, Catching())
    after = noised_metrics([*others, {"loss": loss, "trivial_loss": trivial}], NAMES, 1.0, Catching())
    assert [len(one) for one in caught] == [3, 3]  # a count, and the two: one Gaussian for all
    assert all(abs(after[name] - before[name]) <= 1 / 5 + 1e-6 for name in NAMES)


# --- moments -----------------------------------------------------------------------------------

def made(num_subjects: int, channels: int = 6) -> list[tuple[Tensor, Tensor]]:
    """Return each subject's channel means and root mean square, of latents of 50 places."""
    generator = torch.Generator().manual_seed(3)
    centre = torch.linspace(-0.3, 0.3, channels, dtype=torch.float64)
    latents = centre[:, None] + 0.9 * torch.randn(
        num_subjects, channels, 50, generator=generator, dtype=torch.float64)
    return [(one.mean(dim=1), one.square().mean().sqrt()) for one in latents]


def test_moments_come_near_the_truth_for_many_subjects() -> None:
    subjects = made(4000)
    means, variance = noised_moments(subjects, 6, 2.0, 4.0, 4000, SecureRandom(1))
    centre = np.linspace(-0.3, 0.3, 6)
    # σ √2 · bound √C / 4 over n is the noise of a mean.
    assert means.numpy() == pytest.approx(centre, abs=5 * 4 * math.sqrt(2) * 2 * math.sqrt(6) / 4 / 4000
                                          + 0.01)
    assert variance == pytest.approx(0.81, abs=0.05)


def test_moments_without_noise_are_those_of_the_set() -> None:
    subjects = made(30)
    means, variance = noised_moments(subjects, 6, 4.0, TINY, 30, SecureRandom(0))
    own = torch.stack([mean for mean, _ in subjects]).mean(0)
    rms = torch.stack([rms for _, rms in subjects]).mean()
    assert means.numpy() == pytest.approx(own.numpy(), abs=1e-5)
    assert variance == pytest.approx(float(rms**2 - own.square().mean()), abs=1e-4)


def test_moments_are_noised_as_widely_as_they_say() -> None:
    found = torch.stack([noised_moments([], 6, 2.0, 4.0, 100, SecureRandom(seed))[0]
                         for seed in range(500)])
    expected = 4.0 * math.sqrt(2) * (2.0 * math.sqrt(6) / 4) / 100
    assert float(found.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * found.numel()))


def test_a_variance_is_never_too_small_to_divide_by() -> None:
    assert all(noised_moments([], 6, 2.0, 4.0, 100, SecureRandom(seed))[1] >= 0.01
               for seed in range(50))


@given(st.lists(NUMBERS, min_size=6, max_size=6), NUMBERS, st.floats(0.1, 8.0))
def test_no_subject_moves_moments_by_more_than_its_share(
    mean: list[float], rms: float, bound: float
) -> None:
    odd = (torch.tensor(mean, dtype=torch.float64), torch.tensor(abs(rms), dtype=torch.float64))
    others = made(3)
    before, after = (noised_moments(subjects, 6, bound, 1.0, 10, Silent())[0]
                     for subjects in (others, [*others, odd]))
    most = math.sqrt(2) * (bound * math.sqrt(6) / 4) / 10  # a vector of norm 1, all of it in the means
    assert float((after - before).norm()) <= most * (1 + 1e-9)
