"""Bounds against what their papers print, closed forms, and Gaussian mechanisms of known ε."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, norm

from braing3n.audit.empirical.bounds import (
    MAX_EPSILON,
    Bound,
    Scored,
    delta_of_mu,
    epsilon_clopper_pearson,
    epsilon_gaussian_fit,
    epsilon_of_mu,
    epsilon_one_run,
    epsilon_one_run_gaussian,
    mu_fit,
    mu_one_run,
    p_value_one_run,
)

BOUNDS = (epsilon_one_run, epsilon_one_run_gaussian, epsilon_clopper_pearson, epsilon_gaussian_fit)
DELTA = 1e-5


def gaussian_scores(mu: float, count: int, seed: int) -> Scored:
    """Of a Gaussian mechanism that each canary is put through by itself."""
    rng = np.random.default_rng(seed)
    included = rng.random(count) < 0.5
    seen = rng.normal(size=count) + mu * included
    return Scored(seen - mu / 2, included, DELTA)


@pytest.mark.parametrize(("inputs", "printed"), [
    ((1000, 100, 75, 1e-4), 0.673), ((100_000, 1510, 1439, 1e-5), 2.675)])
def test_one_run_bounds_are_those_that_the_paper_prints(
    inputs: tuple[int, int, int, float], printed: float
) -> None:
    """Steinke et al. 2023, appendix D and section 7; the second is cut off and not rounded there."""
    canaries, guesses, correct, delta = inputs
    for epsilon, is_rejected in ((printed - 1e-3, True), (printed + 1.5e-3, False)):
        assert (p_value_one_run(canaries, guesses, correct, epsilon, delta) <= 0.05) is is_rejected


def test_without_delta_the_p_value_is_a_binomial_tail() -> None:
    tail = sum(math.comb(20, k) * 0.75**k * 0.25**(20 - k) for k in range(17, 21))
    assert p_value_one_run(50, 20, 17, math.log(3), 0.0) == pytest.approx(tail)


def test_the_p_value_is_a_naive_one_with_delta_too() -> None:
    success = 1 / (1 + math.exp(-0.8))
    worst = max(sum(binom.pmf(k, 30, success) for k in range(24 - i, 24)) / i for i in range(1, 25))
    expected = binom.sf(23, 30, success) + 2 * 80 * 1e-3 * worst
    assert p_value_one_run(80, 30, 24, 0.8, 1e-3) == pytest.approx(expected)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_epsilon_of_mu_is_where_the_integral_of_the_excess_is_delta(mu: float) -> None:
    """δ(ε) = ∫ max(0, p − e^ε q) over the two normal densities."""
    epsilon = epsilon_of_mu(mu, DELTA)
    # p > e^ε q beyond ε/μ + μ/2, with the two centred at μ and at 0.
    begin = epsilon / mu + mu / 2
    excess, _ = quad(lambda x: norm.pdf(x - mu) - math.exp(epsilon) * norm.pdf(x), begin, begin + 12)
    assert excess == pytest.approx(DELTA, rel=1e-2)
    assert delta_of_mu(mu, epsilon) == pytest.approx(DELTA, rel=1e-2)


def test_a_mechanism_that_leaks_nothing_or_everything_has_no_epsilon_or_the_most() -> None:
    assert epsilon_of_mu(0.0, DELTA) == 0.0
    assert epsilon_of_mu(math.inf, DELTA) == epsilon_of_mu(20.0, DELTA) == MAX_EPSILON


def test_mu_one_run_with_one_guess_is_the_trade_off_itself() -> None:
    """With one canary and one correct guess, all that can be said is that ½ is more than the level."""
    assert mu_one_run(1, 1, 1, 0.05) == 0.0


def is_rejected(canaries: int, guesses: int, correct: int, level: float, mu: float) -> bool:
    """Mahloujifar et al. 2024 in probabilities of numbers of correct guesses, without any of our code.

    Let `correct` guesses or more be right with probability `level`. For a canary, being guessed right
    while `count` or more guesses are has a probability, and by the trade-off Φ(Φ⁻¹(·) − μ) being
    guessed wrong while `count` − 1 or more are has at least another: a lower bound on the probability
    of `count` − 1. All of them together cannot be more than 1.
    """
    normal = NormalDist()
    probabilities = {correct: level}
    for count in range(correct - 1, -1, -1):
        right = sum(p * k for k, p in probabilities.items()) / canaries
        wrong = sum(p * (guesses - k) for k, p in probabilities.items()) / canaries
        least = normal.cdf(normal.inv_cdf(right) - mu)
        probabilities[count] = max(0.0, least - wrong) * canaries / (guesses - count)
        if sum(probabilities.values()) > 1:
            return True
    return False


@pytest.mark.parametrize("inputs", [
    (20, 20, 20, 0.05), (20, 20, 17, 0.05), (100, 50, 45, 0.0125), (100, 100, 80, 0.05),
    (200, 24, 24, 0.0125), (400, 400, 240, 0.0125), (1000, 100, 75, 0.01), (64, 16, 16, 0.001)])
def test_mu_one_run_is_where_a_naive_recursion_begins_to_allow_it(
    inputs: tuple[int, int, int, float]
) -> None:
    mu = mu_one_run(*inputs)
    assert mu > 0.01
    assert is_rejected(*inputs, mu - 1e-3)
    assert not is_rejected(*inputs, mu + 1e-3)


@pytest.mark.parametrize("inputs", [(2, 2, 2, 0.05), (100, 100, 55, 0.05), (100, 50, 20, 0.0125)])
def test_so_few_correct_guesses_contradict_nothing(inputs: tuple[int, int, int, float]) -> None:
    assert not is_rejected(*inputs, 0.0)
    assert mu_one_run(*inputs) == 0.0


@pytest.mark.parametrize(("mu", "least"), [(0.0, -1.0), (1.0, 0.5), (1.6, 1.2)])
def test_bounds_are_below_the_true_epsilon_as_often_as_they_say(mu: float, least: float) -> None:
    """120 mechanisms each: of 95 %, 6 may be above on average, and 16 or more with p = 10⁻³."""
    true = epsilon_of_mu(mu, DELTA)
    found = np.array([[bound(gaussian_scores(mu, 100, seed), 0.95) for bound in BOUNDS]
                      for seed in range(120)])
    assert ((found > true).sum(axis=0) <= 15).all(), (found > true).sum(axis=0)
    if least > 0:  # and they are not below for saying nothing
        assert found[:, 3].mean() > least
        assert found[:, 1].mean() > least / 2


def test_the_fit_tightens_with_more_canaries_and_the_one_run_bounds_rise() -> None:
    small, large = ([bound(gaussian_scores(1.6, count, 0), 0.95) for bound in BOUNDS]
                    for count in (100, 4000))
    assert all(one < other for one, other in zip(small[:3], large[:3], strict=True))
    assert large[3] == pytest.approx(epsilon_of_mu(1.6, DELTA), rel=0.1)


def test_scores_of_noise_alone_give_no_bound_and_perfect_ones_a_high_one() -> None:
    included = np.arange(200) % 2 == 0
    nothing = Scored(np.zeros(200), included, DELTA)
    perfect = Scored(np.where(included, 50.0, -50.0) + np.random.default_rng(0).normal(size=200),
                     included, DELTA)
    for bound in BOUNDS:
        assert bound(nothing, 0.95) == pytest.approx(0.0, abs=0.3)
        assert bound(perfect, 0.95) > 2
    assert epsilon_gaussian_fit(perfect, 0.95) == MAX_EPSILON


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_score_that_is_not_finite_gives_the_most_and_never_nothing(
    bound: Bound, value: float
) -> None:
    scored = gaussian_scores(0.5, 100, 0)
    assert bound(scored, 0.95) < 5
    scored.scores[3] = value
    assert bound(scored, 0.95) == MAX_EPSILON


def test_canaries_that_are_all_in_say_nothing() -> None:
    scored = Scored(np.arange(20.0), np.ones(20, dtype=bool), DELTA)
    assert epsilon_clopper_pearson(scored, 0.95) == 0.0
    assert epsilon_gaussian_fit(scored, 0.95) == 0.0


def test_the_limit_of_mu_covers_as_it_says() -> None:
    rng = np.random.default_rng(0)
    above = sum(mu_fit(rng.normal(1.5, 1.0, 40), rng.normal(0.0, 1.0, 60), 0.9) > 1.5
                for _ in range(1000))
    assert 60 < above < 140
