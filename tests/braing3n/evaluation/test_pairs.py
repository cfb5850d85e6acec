import itertools

import numpy as np
import pytest

from braing3n.evaluation.metrics import resample
from braing3n.evaluation.pairs import c_index

N = 40


def test_concordance_is_that_of_a_naive_loop_over_pairs_of_one_site():
    rng = np.random.default_rng(2)
    times, events = rng.integers(1, 9, N).astype(float), rng.random(N) < 0.6
    scores, sites = rng.integers(0, 5, N).astype(float), np.array(["a", "b"])[rng.integers(0, 2, N)]
    weights = np.vstack([np.ones(N), resample(np.arange(N) // 2, 0, 6)])
    found = c_index(times, events, scores, sites, weights)
    for row, drawn in enumerate(weights):
        won = pairs = 0.0
        for i, j in itertools.permutations(range(N), 2):
            if sites[i] == sites[j] and events[i] and (
                    times[i] < times[j] or (times[i] == times[j] and not events[j])):
                weight = drawn[i] * drawn[j]
                pairs += weight
                won += weight * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
        assert found[row] == pytest.approx(won / pairs)
