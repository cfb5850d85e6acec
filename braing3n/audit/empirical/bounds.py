"""Lower bounds on ε from one run: what an auditor's scores of canaries say against a claim.

Each of m canaries, patients that the auditor made up, is in the data or not by a coin of its own. The
auditor gives each one a score that grows with how much it looks as if it was in. Any score makes valid
bounds; a better one makes higher bounds. Correct training gives finite scores: where one is not, all
is taken to have leaked.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import beta as beta_distribution
from scipy.stats import binom

Wide = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MAX_EPSILON = 100.0  # where bounds end; nobody claims as much
_MAX_MU = 15.0  # of which ε is beyond that
# Shares of canaries that are guessed; of the others the auditor says nothing.
SHARES = (0.125, 0.25, 0.5, 1.0)
# Scores above which a canary counts as found, chosen before any is seen.
THRESHOLDS = (-2.5, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5)


@dataclass(frozen=True)
class Scored:
    """What the auditor knows when all is over.

    Attributes:
        scores: (m,) log-likelihood ratios of having been in, or whatever grows with them, in about
            their standard deviations under the claim.
        included: (m,) whether each canary was in.
        delta: δ, at which bounds on ε are stated.
    """

    scores: Wide
    included: Flags
    delta: float

    @property
    def are_finite(self) -> bool:
        """Whether all scores are."""
        return bool(np.isfinite(self.scores).all())


Bound = Callable[[Scored, float], float]


def _of_finite_scores(bound: Bound) -> Bound:
    """Let a bound be `MAX_EPSILON` where scores are not finite; comparing NaN would make it 0."""
    @wraps(bound)
    def checked(scored: Scored, confidence: float) -> float:
        return bound(scored, confidence) if scored.are_finite else MAX_EPSILON

    return checked


@_of_finite_scores
def epsilon_one_run(scored: Scored, confidence: float) -> float:
    """Return the lower bound of Steinke, Nasr and Jagielski, for several numbers of guesses.

    It assumes nothing of the mechanism. Each number of guesses is tested at its part of 1 − confidence
    (Bonferroni), as the best of them is given.

    Source: Steinke et al. 2023, "Privacy auditing with one (1) training run",
    https://arxiv.org/abs/2305.08846, theorem 5.2 and appendix D.

    Args:
        scored: Scores and the truth.
        confidence: Probability, at least, that the bound is below the true ε.
    """
    level = (1 - confidence) / len(SHARES)
    canaries = len(scored.scores)

    def best(guesses: int, correct: int) -> float:
        return _largest(lambda epsilon: p_value_one_run(
            canaries, guesses, correct, epsilon, scored.delta) <= level, MAX_EPSILON)

    return max(best(*_guesses(scored, share)) for share in SHARES)


@_of_finite_scores
def epsilon_one_run_gaussian(scored: Scored, confidence: float) -> float:
    """Return the lower bound of Mahloujifar et al. for Gaussian trade-offs, turned into ε at δ.

    It assumes that the mechanism's trade-off curve is a Gaussian one; see `mu_one_run`.
    """
    level = (1 - confidence) / len(SHARES)
    canaries = len(scored.scores)
    mu = max(mu_one_run(canaries, *_guesses(scored, share), level) for share in SHARES)
    return epsilon_of_mu(mu, scored.delta)


@_of_finite_scores
def epsilon_clopper_pearson(scored: Scored, confidence: float) -> float:
    """Return the lower bound from true and false positive rates at fixed thresholds.

    (ε, δ)-DP means TPR ≤ e^ε FPR + δ, and the same for the negatives (Kairouz et al. 2015,
    https://arxiv.org/abs/1311.0776). Rates are bounded by Clopper and Pearson 1934,
    https://doi.org/10.1093/biomet/26.4.404, two for each threshold, each at its part of 1 − confidence.
    It takes canaries for independent of one another, as they are when each has a direction of its own.
    """
    level = (1 - confidence) / (2 * len(THRESHOLDS))
    members, others = int(scored.included.sum()), int((~scored.included).sum())
    if not members or not others:
        return 0.0
    best = 0.0
    for threshold in THRESHOLDS:
        found = scored.scores > threshold
        true_positives = _at_least(int(found[scored.included].sum()), members, level)
        false_negatives = 1 - true_positives
        true_negatives = _at_least(int((~found[~scored.included]).sum()), others, level)
        false_positives = 1 - true_negatives
        for hit, miss in ((true_positives, false_positives), (true_negatives, false_negatives)):
            if hit > scored.delta:
                best = max(best, math.log((hit - scored.delta) / miss))
    return min(best, MAX_EPSILON)


@_of_finite_scores
def epsilon_gaussian_fit(scored: Scored, confidence: float) -> float:
    """Return ε at δ of the least Gaussian trade-off that scores leave likely.

    It assumes that scores are normal, with one variance, and so that the trade-off is a Gaussian one
    (Nasr et al. 2023, "Tight auditing of differentially private machine learning",
    https://arxiv.org/abs/2302.07956). It is the tightest by far, and the only one that can be wrong
    where the assumption is.
    """
    inside, outside = scored.scores[scored.included], scored.scores[~scored.included]
    return epsilon_of_mu(mu_fit(inside, outside, confidence), scored.delta)


def p_value_one_run(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Return the probability, at most, of so many correct guesses under (ε, δ)-DP.

    Source: Steinke et al. 2023, https://arxiv.org/abs/2305.08846, theorem 5.2: with W binomial of r
    guesses and success e^ε / (1 + e^ε), it is P[W ≥ v] + 2 m δ maxᵢ P[v > W ≥ v − i] / i.

    Args:
        canaries: m, each in the data with probability ½.
        guesses: r, of m; of the others nothing is said.
        correct: v, of r.
        epsilon: ε, 0 or more.
        delta: δ.
    """
    success = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(correct - 1, guesses, success))
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, success))  # i = 1 .. v
    worst = float((below / np.arange(1, correct + 1)).max())
    return min(1.0, tail + 2 * canaries * delta * worst)


def mu_one_run(canaries: int, guesses: int, correct: int, level: float) -> float:
    """Return the largest μ for which so many correct guesses are less likely than `level`.

    Source: Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-differential privacy in one run",
    https://arxiv.org/abs/2410.22235: if c correct guesses had probability `level`, then by the
    trade-off wrong ones must have some too, at c and so on down to none. Where all of these are more
    than the share of canaries that is guessed, that cannot be: c correct guesses were less likely.

    Args:
        canaries: m.
        guesses: c', of m.
        correct: c, of c'.
        level: Probability, at most, of a μ above the true one.
    """
    return _largest(
        lambda mu: _is_unlikely(canaries, guesses, correct, level, mu), _MAX_MU)


def mu_fit(inside: Wide, outside: Wide, confidence: float) -> float:
    """Return a lower confidence limit of the distance of two normal samples in their deviation.

    The standardised mean difference is about normal with the variance of Hedges and Olkin 1985,
    "Statistical methods for meta-analysis", chapter 5: 1/n₁ + 1/n₂ + μ² / (2 (n₁ + n₂ − 2)).

    Args:
        inside: (n₁,) scores of canaries that were in.
        outside: (n₂,) scores of those that were not.
        confidence: Probability, at least, that the limit is below the true distance.
    """
    degrees = len(inside) + len(outside) - 2
    if min(len(inside), len(outside)) < 2:
        return 0.0
    difference = float(inside.mean() - outside.mean())
    squares = float(((inside - inside.mean())**2).sum() + ((outside - outside.mean())**2).sum())
    if difference <= 0:
        return 0.0
    if squares == 0:
        return math.inf
    mu = difference / math.sqrt(squares / degrees)
    error = math.sqrt(1 / len(inside) + 1 / len(outside) + mu**2 / (2 * degrees))
    return max(0.0, mu - float(ndtri(confidence)) * error)


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Return the ε at δ of a Gaussian mechanism whose sensitivity is μ deviations, exactly.

    δ(ε) = Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ). Source: Balle and Wang 2018, "Improving the
    Gaussian mechanism for differential privacy", https://arxiv.org/abs/1805.06530, theorem 8.

    Args:
        mu: 0 or more.
        delta: δ, above 0.

    Returns:
        ε; at most `MAX_EPSILON`.
    """
    if mu <= 0:
        return 0.0
    if math.isinf(mu):
        return MAX_EPSILON
    return _largest(lambda epsilon: delta_of_mu(mu, epsilon) > delta, MAX_EPSILON)


def delta_of_mu(mu: float, epsilon: float) -> float:
    """Return the δ at ε of a Gaussian mechanism; see `epsilon_of_mu`."""
    kept, lost = log_ndtr(mu / 2 - epsilon / mu), log_ndtr(-mu / 2 - epsilon / mu)
    return float(np.exp(kept) * -np.expm1(min(0.0, epsilon + lost - kept)))


def _is_unlikely(canaries: int, guesses: int, correct: int, level: float, mu: float) -> bool:
    right = level * correct / canaries        # masses of right and of wrong guesses, per canary
    wrong = level * (guesses - correct) / canaries
    for number in range(correct - 1, -1, -1):
        least = float(ndtr(ndtri(min(right, 1.0)) - mu))  # the trade-off: so many are wrong at least
        step = max(0.0, least - wrong)
        wrong += step
        right += number / (guesses - number) * step
    return right + wrong > guesses / canaries


def _guesses(scored: Scored, share: float) -> tuple[int, int]:
    """Guess that the highest scores were in and the lowest out; return guesses and correct ones."""
    half = max(1, round(len(scored.scores) * share / 2))
    order = np.argsort(scored.scores, kind="stable")
    correct = int(scored.included[order[-half:]].sum() + (~scored.included[order[:half]]).sum())
    return 2 * half, correct


def _at_least(hits: int, count: int, level: float) -> float:
    """Return a probability that is below the true one but with probability `level`."""
    return float(beta_distribution.ppf(level, hits, count - hits + 1)) if hits else 0.0


def _largest(holds: Callable[[float], bool], most: float) -> float:
    """Return the largest number in [0, most], to 10⁻⁴, up to which something holds; 0 if nowhere."""
    if holds(most):
        return most
    low, high = 0.0, most
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
