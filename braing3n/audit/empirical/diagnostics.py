"""What bounds on ε cannot see: whether noise, draws and sums are those that the account takes them for.

Each check is a test at its part of the audit's false alarms. Noise is what was released minus the exact
sum, over σ C: standard normal in every coordinate, if all is well. What is not finite is never right.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import ndtr
from scipy.stats import binomtest, chi2

from braing3n.audit.empirical.bounds import Wide
from braing3n.audit.empirical.result import Diagnostic
from braing3n.audit.empirical.watching import Step

# How far a deviation may be off before it counts: sums are computed twice, in float32.
_TOLERANCE = 0.005
_NEXT_TO_NOTHING = 0.01  # of the claimed deviation; there is no noise then to be judged
_REPEATS = 20_000


def noise_scale(steps: Sequence[Step], level: float) -> Diagnostic:
    """Test the noise's deviation in every step."""
    return _worst_scale([(step.mean_square, step.num_coordinates) for step in steps], level,
                        "measured noise over claimed noise, in the worst step")


def noise_places(steps: Sequence[Step], level: float) -> Diagnostic:
    """Test the noise's deviation in every parameter, over all steps."""
    found = []
    for name in steps[0].by_parameter:
        parts = [step.by_parameter[name] for step in steps]
        count = sum(part[1] for part in parts)
        found.append((sum(part[0] for part in parts) / count, count))
    return _worst_scale(found, level, "measured noise over claimed noise, in the worst parameter")


def loss_noise(steps: Sequence[Step], level: float) -> Diagnostic:
    """Test the noise of the loss's coordinate: the sum of T squares is χ² with T degrees of freedom."""
    noise = np.array([step.loss_noise for step in steps])
    total = float(np.square(noise).sum())
    p_value = 0.0
    if math.isfinite(total):
        p_value = _doubled(float(chi2.cdf(total, len(noise))), float(chi2.sf(total, len(noise))))
    return Diagnostic(math.sqrt(total / len(noise)), 1.0, p_value, p_value >= level,
                      "measured noise of the released loss over claimed noise")


def noise_lag(steps: Sequence[Step], level: float) -> Diagnostic:
    """Test that the noise of one step tells nothing of the next one's: autocorrelation at lag 1."""
    meaning = "correlation of the noise of neighbouring steps"
    if not _has_noise(steps) or len(steps) < 2:
        return _unjudged(meaning)
    noise = _unit_sketches(steps)
    correlation = float(np.mean(np.sum(noise[:-1] * noise[1:], axis=1)))
    p_value = _two_sided(abs(correlation) * math.sqrt(noise.shape[1] * (len(noise) - 1)))
    return Diagnostic(correlation, 0.0, p_value, p_value >= level, meaning)


def noise_repeats(steps: Sequence[Step], level: float) -> Diagnostic:
    """Test that no two steps, whatever lies between them, have noise in common."""
    meaning = "largest correlation of the noise of any two steps"
    if not _has_noise(steps) or len(steps) < 2:
        return _unjudged(meaning)
    noise = _unit_sketches(steps)
    pairs = (noise @ noise.T)[np.triu_indices(len(noise), 1)]
    largest = float(pairs[np.argmax(np.abs(pairs))])
    p_value = min(1.0, len(pairs) * _two_sided(abs(largest) * math.sqrt(noise.shape[1])))
    return Diagnostic(largest, 0.0, p_value, p_value >= level, meaning)


def noise_denominator(steps: Sequence[Step], level: float) -> Diagnostic:
    """Test that noise does not shrink in steps that draw more patients.

    The slope of log(noise) against log(patients drawn): 0, and −1 where noise, or all, is divided by
    the drawn batch.
    """
    meaning = "slope of log noise over log patients drawn"
    drawn = np.log([max(1, len(step.drawn)) for step in steps])
    spread = float(((drawn - drawn.mean())**2).sum())
    squares = np.array([step.mean_square for step in steps])
    if spread < 1e-9 or not _has_noise(steps):
        return _unjudged(meaning)
    slope = float(((drawn - drawn.mean()) * np.log(squares) / 2).sum() / spread)
    error = 1 / math.sqrt(2 * steps[0].num_coordinates * spread)
    p_value = _two_sided(_beyond(abs(slope), 2 * _TOLERANCE) / error)
    return Diagnostic(slope, 0.0, p_value, p_value >= level, meaning)


def signal(steps: Sequence[Step], level: float) -> Diagnostic:
    """Test that the exact sum is in what is released once, not more and not less.

    The regression of released sums on exact ones has a slope of 1, with an error of σ C / √Σ‖sum‖².
    """
    meaning = "share of the exact sum of clipped gradients in what is released"
    square = sum(step.signal_square for step in steps)
    if square == 0:
        return _unjudged(meaning)
    slope = sum(step.signal for step in steps) / square
    p_value = _two_sided(_beyond(abs(slope - 1), _TOLERANCE) * math.sqrt(square))
    return Diagnostic(slope, 1.0, p_value, p_value >= level, meaning)


def batch_sizes(
    steps: Sequence[Step], num_subjects: int, sample_rate: float, level: float, seed: int
) -> Diagnostic:
    """Test that drawn numbers are binomial: their mean exactly, their spread against simulated draws.

    What is told is the spread: variance over that of Binomial(n, q). It is 0 where batches have a fixed
    size, as with shuffling.
    """
    drawn = np.array([len(step.drawn) for step in steps])
    mean = binomtest(int(drawn.sum()), num_subjects * len(steps), sample_rate).pvalue
    spread, spread_p = _spread(drawn, num_subjects, sample_rate, seed)
    p_value = min(1.0, 2 * min(float(mean), spread_p))
    return Diagnostic(spread, 1.0, p_value, p_value >= level,
                      "variance of the number of drawn patients over that of a Poisson draw")


def turns(
    steps: Sequence[Step], subjects: Sequence[str], sample_rate: float, level: float, seed: int
) -> Diagnostic:
    """Test that how often each patient is drawn is binomial, and that nobody is drawn twice in a step.

    In shuffled batches everybody has an equal number of turns; with a draw that repeats, some have all.
    """
    counts = Counter(subject for step in steps for subject in step.drawn)
    twice = any(len(set(step.drawn)) < len(step.drawn) for step in steps)
    turn = np.array([counts[subject] for subject in subjects])
    spread, p_value = _spread(turn, len(steps), sample_rate, seed)
    if twice or not counts.keys() <= set(subjects):
        p_value = 0.0
    return Diagnostic(spread, 1.0, p_value, p_value >= level,
                      "variance of patients' numbers of turns over that of a Poisson draw")


def steps_taken(steps: Sequence[Step], planned: int) -> Diagnostic:
    """Compare the number of steps with the planned one, which is what the claim charges.

    No chance is in it, so it has no p-value.
    """
    return Diagnostic(len(steps) / planned, 1.0, None, len(steps) == planned,
                      "steps taken over steps planned")


def _worst_scale(found: Sequence[tuple[float, int]], level: float, meaning: str) -> Diagnostic:
    """Test mean squares of so many numbers each.

    That of d standard normal numbers has a mean of 1 and a variance of 2 / d. The one that is furthest
    off is told, with its p-value times their number (Bonferroni).
    """
    excess = [_beyond(abs(math.sqrt(square) - 1), _TOLERANCE) * math.sqrt(2 * count)
              for square, count in found]
    worst = int(np.argmax(excess))  # the first NaN, if there is one
    p_value = min(1.0, len(found) * _two_sided(excess[worst]))
    return Diagnostic(math.sqrt(found[worst][0]), 1.0, p_value, p_value >= level, meaning)


def _spread(counts: Wide, trials: int, rate: float, seed: int) -> tuple[float, float]:
    """Return Σ (count − trials · rate)² over what it is on average, and its p-value by simulation."""
    if rate == 1:  # nothing is left to chance
        fits = bool((counts == trials).all())
        return (1.0, 1.0) if fits else (math.inf, 0.0)
    found = float(((counts - trials * rate)**2).mean() / (trials * rate * (1 - rate)))
    null = _null_spread(len(counts), trials, rate, seed)
    below, above = int((null <= found).sum()), int((null >= found).sum())
    return found, _doubled((below + 1) / (_REPEATS + 1), (above + 1) / (_REPEATS + 1))


@lru_cache(maxsize=8)
def _null_spread(count: int, trials: int, rate: float, seed: int) -> Wide:
    """Return (20000,) spreads of simulated draws."""
    rng = np.random.default_rng(seed)
    pieces = [rng.binomial(trials, rate, (_REPEATS // 20, count)) for _ in range(20)]
    null: Wide = np.concatenate([((piece - trials * rate)**2).mean(axis=1) for piece in pieces])
    return null / (trials * rate * (1 - rate))


def _unit_sketches(steps: Sequence[Step]) -> Wide:
    noise = np.stack([step.sketch for step in steps])
    lengths = np.linalg.norm(noise, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # of infinite noise, which gives NaN
        unit: Wide = noise / np.maximum(lengths, 1e-300)
    return unit


def _has_noise(steps: Sequence[Step]) -> bool:
    """Tell steps that all have noise to be judged; noise that is NaN has to be judged, too."""
    return not any(step.mean_square <= _NEXT_TO_NOTHING**2 for step in steps)


def _unjudged(meaning: str) -> Diagnostic:
    return Diagnostic(math.nan, 0.0, None, True,
                      f"{meaning} (not judged: there is too little to compare)")


def _beyond(off: float, tolerance: float) -> float:
    """Return by how much something is further off than is tolerated; NaN stays NaN."""
    return 0.0 if off <= tolerance else off - tolerance


def _two_sided(deviations: float) -> float:
    """Return the p-value of so many deviations; it is 0 for NaN, as nothing right gives that."""
    return 0.0 if math.isnan(deviations) else float(2 * ndtr(-deviations))


def _doubled(below: float, above: float) -> float:
    return min(1.0, 2 * min(below, above))
