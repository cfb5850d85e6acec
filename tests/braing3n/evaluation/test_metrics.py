from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

from braing3n.evaluation import metrics
from braing3n.evaluation.metrics import Predictions, estimate, figures, resample

N = 40


def _weights(seed: int = 0) -> np.ndarray:
    """(7, 40): ones, then how often six resamples of people with two volumes each have them."""
    return np.vstack([np.ones(N), resample(np.arange(N) // 2, seed, 6)])


def _repeated(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.repeat(values, weights.astype(int), axis=0)


def _classification(names: tuple[str, ...], seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    truths = np.array(names)[rng.integers(0, len(names), N)]
    scores = rng.integers(0, 6, (N, len(names) if len(names) > 2 else 1)).astype(float)  # with ties
    return Predictions(scores, np.array(names)[rng.integers(0, len(names), N)], truths, None,
                       np.array([str(n // 2) for n in range(N)]), np.array(["a"] * N), names)


def test_figures_of_two_classes_are_scikit_learns_on_repeated_volumes():
    made, weights = _classification(("F", "M")), _weights()
    found = figures("classification", made, weights)
    for row, drawn in enumerate(weights):
        truths = _repeated(made.truths, drawn)
        assert found["auc"][row] == pytest.approx(roc_auc_score(truths == "M",
                                                                _repeated(made.scores[:, 0], drawn)))
        assert found["balanced_accuracy"][row] == pytest.approx(
            balanced_accuracy_score(truths, _repeated(made.predicted, drawn)))


def test_the_auc_of_several_classes_is_the_mean_of_each_against_the_rest():
    made, weights = _classification(("AD", "HC", "MCI")), _weights()
    found = figures("classification", made, weights)
    for row, drawn in enumerate(weights):
        truths, scores = _repeated(made.truths, drawn), _repeated(made.scores, drawn)
        expected = np.mean([roc_auc_score(truths == name, scores[:, number])
                            for number, name in enumerate(made.classes)])
        assert found["auc"][row] == pytest.approx(expected)
        assert found["balanced_accuracy"][row] == pytest.approx(
            balanced_accuracy_score(truths, _repeated(made.predicted, drawn)))


def test_the_auc_within_sites_is_the_mean_of_each_sites_weighted_by_its_pairs():
    made, weights = _classification(("F", "M")), _weights()
    sites = np.array(["a", "b", "c"])[np.arange(N) // 2 % 3]
    found = figures("classification", replace(made, sites=sites), weights)
    for row, drawn in enumerate(weights):
        won = pairs = 0.0
        for site in "abc":
            here = drawn * (sites == site)
            truths, scores = _repeated(made.truths, here), _repeated(made.scores[:, 0], here)
            count = (truths == "F").sum() * (truths == "M").sum()
            if count:
                won, pairs = won + count * roc_auc_score(truths == "M", scores), pairs + count
        assert found["auc_within_sites"][row] == pytest.approx(won / pairs)


def test_a_score_that_only_tells_the_site_says_nothing_within_sites():
    sites = np.repeat(["a", "b"], 20)
    truths = np.where(np.arange(40) % 10 < np.where(sites == "a", 9, 1), "MDD", "HC")
    told = Predictions((sites == "a")[:, None].astype(float), truths, truths, None,
                       np.arange(40).astype(str), sites, ("HC", "MDD"))
    found = figures("classification", told, np.ones((1, 40)))
    assert found["auc"][0] == pytest.approx(0.9)
    assert found["auc_within_sites"][0] == 0.5
    split = replace(told, truths=np.where(sites == "a", "MDD", "HC"))
    assert np.isnan(figures("classification", split, np.ones((1, 40)))["auc_within_sites"][0])


def test_figures_of_a_regression_are_scikit_learns_on_repeated_volumes():
    rng = np.random.default_rng(1)
    truths = rng.normal(60, 10, N)
    guesses = truths + rng.normal(0, 5, N)
    weights = _weights()
    found = [metric(truths, guesses, weights)
             for metric in (metrics.r2, metrics.mae, metrics.pearson_r)]
    for row, drawn in enumerate(weights):
        pair = _repeated(truths, drawn), _repeated(guesses, drawn)
        assert found[0][row] == pytest.approx(r2_score(*pair))
        assert found[1][row] == pytest.approx(mean_absolute_error(*pair))
        assert found[2][row] == pytest.approx(np.corrcoef(*pair)[0, 1])


def test_people_are_drawn_with_all_their_volumes():
    persons = np.array([0, 0, 1, 2, 2, 2])
    weights = resample(persons, 0, 500)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [3, 4]] == weights[:, [5]]).all()
    assert (weights[:, 0] + weights[:, 2] + weights[:, 3] == 3).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.15)


def test_an_interval_of_a_known_effect_holds_it_and_has_its_width():
    rng = np.random.default_rng(3)
    truths = rng.normal(0, 1, 400)
    made = Predictions((truths + rng.normal(0, 1, 400))[:, None], truths, truths, None,
                       np.array([str(n) for n in range(400)]), np.array(["a"] * 400))
    found = estimate("regression", made, 0)["pearson_r"]
    # Fisher: the standard error of a correlation is (1 - r²) / sqrt(n).
    width = 2 * 1.96 * (1 - found.value**2) / np.sqrt(400)
    assert found.low < np.sqrt(0.5) < found.high
    assert found.high - found.low == pytest.approx(width, rel=0.2)


def test_a_subject_of_two_sites_is_two_people():
    numbers = metrics.persons_of(np.array(["1", "1", "1"]), np.array(["a", "b", "a"]))
    assert numbers[0] == numbers[2] != numbers[1]


def test_r2_within_sites_is_that_of_numbers_from_which_each_sites_mean_is_taken():
    rng = np.random.default_rng(3)
    sites = np.array(["a", "b", "c"])[np.arange(N) // 2 % 3]
    truths = rng.normal(60, 10, N) + 20 * (sites == "b")
    guesses = truths + rng.normal(0, 5, N) - 9 * (sites == "a")
    weights = _weights()
    found = metrics.r2_within_sites(truths, guesses, sites, weights)
    for row, drawn in enumerate(weights):
        pairs = []
        for site in "abc":
            here = drawn * (sites == site)
            one, other = _repeated(truths, here), _repeated(guesses, here)
            pairs.append((one - one.mean(), other - other.mean()) if len(one) else (one, other))
        both = (np.concatenate(part) for part in zip(*pairs, strict=True))
        assert found[row] == pytest.approx(r2_score(*both))


def test_knowing_a_sites_mean_earns_nothing_within_sites():
    sites = np.repeat(["a", "b"], 20)
    truths = np.arange(40.0)
    means = np.where(sites == "a", 9.5, 29.5)
    assert metrics.r2(truths, means, np.ones((1, 40)))[0] > 0.7
    assert metrics.r2_within_sites(truths, means, sites, np.ones((1, 40)))[0] == pytest.approx(0)
    flat = metrics.r2_within_sites(means, truths, sites, np.ones((1, 40)))
    assert np.isnan(flat[0])


def test_what_is_not_defined_has_a_reason_and_no_number():
    made = _classification(("F", "M"))
    one = made.only(made.truths == "F")
    found = estimate("classification", one, 0)
    assert found["auc_within_sites"].reason == "no site with more than one class"
    assert found["auc"].value is None
    assert found["auc"].reason == "one class alone"
    assert found["balanced_accuracy"].value is None
    flat = Predictions(np.ones((4, 1)), np.ones(4), np.full(4, 70.1), None, np.array(list("abcd")),
                       np.array(["a"] * 4))
    found = estimate("regression", flat, 0)
    assert found["r2"].value is None
    assert found["pearson_r"].value is None
    assert found["mae"].value == pytest.approx(69.1)
    nobody = estimate("survival", flat.only(np.zeros(4, dtype=bool)), 0)
    assert nobody["c_index"].reason == "no test volume"


def test_a_figure_that_most_resamples_do_not_define_has_no_interval():
    made = _classification(("F", "M"))
    few = made.only(np.isin(np.arange(N), [np.flatnonzero(made.truths == "F")[0],
                                           np.flatnonzero(made.truths == "M")[0]]))
    found = estimate("classification", few, 0)["auc"]
    assert found.value is not None
    assert found.low is None
    assert "fewer than half" in found.reason
