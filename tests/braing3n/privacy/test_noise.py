"""The noise, the draws and the seeds that a step takes from one keystream."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy import stats

from braing3n.privacy import noise
from braing3n.privacy.noise import SecureRandom


def test_uniform_numbers_are_uniform_and_never_0_or_1() -> None:
    numbers = SecureRandom(1).uniforms(200_000)
    assert numbers.dtype == np.float64
    assert 0 < numbers.min() < numbers.max() < 1
    assert stats.kstest(numbers, "uniform").pvalue > 0.001


def test_the_extremes_of_the_keystream_stay_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    randomness = SecureRandom(1)
    extremes = np.array([0, 2**64 - 1], np.uint64)
    monkeypatch.setattr(randomness, "_words", lambda count: extremes)
    assert randomness.uniforms(2).tolist() == [2.0**-54, 1 - 2.0**-53]


def test_uniform_numbers_have_53_bits() -> None:
    steps = SecureRandom(2).uniforms(1000) * 2.0**53
    assert np.array_equal(steps, np.round(steps))
    assert len(np.unique(steps % 1024)) > 500  # the last bits are no less random than the first


def test_the_keystream_is_that_of_aes_256_in_counter_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    key = bytes(range(32))
    monkeypatch.setattr(noise.os, "urandom", lambda size: key[:size])
    found = SecureRandom().uniforms(1000)
    block = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    counters = b"".join(index.to_bytes(16, "big") for index in range(500))
    words = np.frombuffer(block.update(counters), "<u8")
    assert np.array_equal(found, (words >> np.uint64(11)) * 2.0**-53)


def test_normal_numbers_are_standard_normal() -> None:
    numbers = SecureRandom(3).gaussians(400_000)
    assert stats.kstest(numbers, "norm").pvalue > 0.001
    assert abs(numbers.mean()) < 4 / 400_000**0.5
    assert numbers.std() == pytest.approx(1, abs=4 / 800_000**0.5)
    # Tails: 400,000 draws reach beyond 4 and stay within 6.5 (expected beyond: 3 in 10^5).
    assert 4 < np.abs(numbers).max() < 6.5


def test_normal_numbers_do_not_depend_on_one_another() -> None:
    numbers = SecureRandom(4).gaussians(200_000)
    # Halves of a chunk share radii, so that lag is looked at too; squares find what means hide.
    for lag in (1, 2, 100, 8192, 16384):
        for values in (numbers, numbers**2 - 1):
            correlation = np.corrcoef(values[lag:], values[:-lag])[0, 1]
            assert abs(correlation) < 4.5 / (200_000 - lag) ** 0.5, lag


def test_a_normal_number_is_half_a_sum_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    randomness = SecureRandom(5)
    uniform = SecureRandom(5).uniforms(16).reshape(4, 2, 2)
    radius, angle = np.sqrt(-2 * np.log(uniform[:, 0])), 2 * np.pi * uniform[:, 1]
    expected = [*(radius * np.cos(angle)).sum(axis=0) / 2, *(radius * np.sin(angle)).sum(axis=0) / 2]
    assert randomness.gaussians(4) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [0, 1, 2, 16_383, 16_384, 16_385, 40_001])
def test_any_number_of_numbers_can_be_had(count: int) -> None:
    numbers = SecureRandom(6).gaussians(count)
    assert numbers.shape == (count,)
    assert len(np.unique(numbers)) == count


def test_a_draw_takes_each_subject_on_its_own() -> None:
    randomness = SecureRandom(7)
    draws = [randomness.poisson_draw(40, 0.2) for _ in range(5000)]
    sizes = np.bincount([len(draw) for draw in draws], minlength=41)
    # Sizes are binomial; rare ones are taken together, as the test needs five expected in each.
    expected = 5000 * stats.binom.pmf(np.arange(41), 40, 0.2)
    low, high = 3, 14
    merged = [np.r_[a[:low].sum(), a[low:high], a[high:].sum()] for a in (sizes, expected)]
    assert stats.chisquare(merged[0], merged[1] * merged[0].sum() / merged[1].sum()).pvalue > 0.001
    taken = np.zeros((5000, 40))
    for row, draw in zip(taken, draws, strict=True):
        row[draw] = 1
    assert np.abs(taken.mean(axis=0) - 0.2).max() < 4.5 * (0.16 / 5000) ** 0.5
    between = np.corrcoef(taken.T) - np.eye(40)
    assert np.abs(between).max() < 5 / 5000**0.5


def test_a_rate_of_1_draws_everybody_and_nobody_is_drawn_of_none() -> None:
    assert SecureRandom(8).poisson_draw(500, 1.0) == list(range(500))
    assert SecureRandom(8).poisson_draw(0, 0.5) == []


def test_seeds_have_63_bits_and_differ() -> None:
    randomness = SecureRandom(9)
    seeds = [randomness.seed63() for _ in range(2000)]
    assert len(set(seeds)) == 2000
    assert 2**62 < max(seeds) < 2**63
    ones = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds]).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 4.5 * 0.5 / 2000**0.5


def test_one_stream_serves_all_and_gives_nothing_twice() -> None:
    first, second = SecureRandom(10), SecureRandom(10)
    assert np.array_equal(first.uniforms(10), second.uniforms(10))
    first.poisson_draw(7, 0.5)
    assert not np.array_equal(first.uniforms(10), second.uniforms(10))


def test_without_a_seed_no_two_are_alike() -> None:
    assert not np.array_equal(SecureRandom().gaussians(5), SecureRandom().gaussians(5))


def test_different_seeds_give_independent_numbers() -> None:
    first, second = SecureRandom(1).gaussians(100_000), SecureRandom(2).gaussians(100_000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / 100_000**0.5
