from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from braing3n.evaluation.metrics import Predictions
from simulation.compare.differences import Difference, adjust, chance, differences_of
from simulation.compare.results import Answers, Measure

NUM = 60


def measure(guesses: dict[str, np.ndarray], truths: np.ndarray) -> Measure:
    subjects = np.array([f"s{number // 2:02d}" for number in range(NUM)])  # two scans each
    sites = np.where(np.arange(NUM) < NUM // 2, "a", "b")
    everything = np.ones(NUM, dtype=bool)
    return Measure("age", "regression", "r2", subjects, sites, {
        name: Answers(everything, Predictions(values[:, None], values, truths, None, subjects, sites))
        for name, values in guesses.items()})


@pytest.fixture
def truths() -> np.ndarray:
    return np.random.default_rng(0).uniform(20, 80, NUM)


def test_a_difference_is_positive_where_the_contestant_is_better(truths: np.ndarray) -> None:
    noise = np.random.default_rng(2).normal(size=NUM)
    both = measure({"good": truths + noise, "bad": truths + 4 * noise}, truths)
    found = {one.metric: one for one in differences_of(both, [("good", "bad")], 0)}
    for metric in ("r2", "mae", "pearson_r"):
        assert found[metric].value > 0
        assert found[metric].low > 0
    assert found["mae"].value == pytest.approx(3 * np.abs(noise).mean())
    assert found["mae"].share == pytest.approx(4)  # the other's error over its own


def test_equal_contestants_differ_by_nothing_on_every_resample(truths: np.ndarray) -> None:
    guess = truths + np.random.default_rng(3).normal(size=NUM)
    both = measure({"one": guess, "other": guess.copy()}, truths)
    for one in differences_of(both, [("one", "other")], 0):
        assert (one.value, one.low, one.high) == (0, 0, 0)
        assert one.do_intervals_overlap


def test_a_pair_can_be_told_apart_though_its_intervals_overlap(truths: np.ndarray) -> None:
    """Subjects differ more than the two models do: what pairing is for."""
    hard = np.repeat(np.random.default_rng(4).exponential(5, NUM // 2), 2)
    both = measure({"good": truths + hard, "bad": truths + hard + 0.5}, truths)
    found = next(one for one in differences_of(both, [("good", "bad")], 0) if one.metric == "mae")
    assert found.do_intervals_overlap
    assert found.low == pytest.approx(0.5)


def test_who_covers_half_of_the_scans_is_compared_on_that_half(truths: np.ndarray) -> None:
    half = np.arange(NUM) < NUM // 2
    made = measure({"all": truths + np.where(half, 1.0, 9.0)}, truths)
    answers = made.answers["all"].predictions
    assert answers is not None
    both = replace(made, answers={**made.answers, "some": Answers(half, answers.only(half))})
    found = next(one for one in differences_of(both, [("all", "some")], 0) if one.metric == "mae")
    assert found.value == pytest.approx(0)
    assert (found.num_subjects, found.is_partial) == (15, True)


def test_chance_is_twice_the_share_on_the_rarer_side() -> None:
    assert chance(np.array([1.0] * 95 + [-1.0] * 4 + [np.nan])) == pytest.approx(2 * 5 / 100)
    assert chance(np.ones(99)) == pytest.approx(2 / 100)
    assert chance(np.zeros(99)) == 1


def test_chance_names_a_difference_that_is_none_as_often_as_it_says() -> None:
    """Two contestants whose errors are drawn alike: p is about uniform."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(100):
        values = rng.uniform(20, 80, NUM)
        pair = {name: values + np.repeat(rng.normal(0, 5, NUM // 2), 2) for name in ("one", "other")}
        one = differences_of(measure(pair, values), [("one", "other")], seed)
        found.append(next(each.p for each in one if each.metric == "mae"))
    assert np.mean(np.array(found) < 0.05) <= 0.12
    assert 0.35 < np.mean(found) < 0.65


def difference(measure: str, against: str, p: float, value: float = 1.0, **more: Any) -> Difference:
    return replace(Difference(measure, "r2", "federated", against, value, 0, 0, None, False, 60, p=p),
                   **more)


def test_p_is_adjusted_after_holm_within_each_opponent() -> None:
    asked = [difference("a", "pooled", 0.01), difference("b", "pooled", 0.04),
             difference("c", "pooled", 0.03), difference("a", "thumbnails", 0.04),
             difference("d", "pooled", 0.001), difference("a", "only x", 0.02),
             difference("b", "only y", 0.02)]
    found = adjust(asked, {(name, "r2") for name in "abc"})
    assert [one.p_adjusted for one in found] == [
        pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06), pytest.approx(0.04), None,
        pytest.approx(0.04), pytest.approx(0.04)]
    assert [one.p for one in found] == [one.p for one in asked]
    assert [one.winner for one in found] == ["federated", None, None, "federated", None, "federated",
                                             "federated"]


def test_no_winner_is_named_by_few_people_or_where_both_are_worse_than_the_mean() -> None:
    asked = [difference("a", "pooled", 0.001, num_subjects=19),
             difference("b", "pooled", 0.001, own=-0.1, theirs=-0.2),
             difference("c", "pooled", 0.001, own=0.1, theirs=-0.2)]
    found = adjust(asked, {(name, "r2") for name in "abc"})
    assert [one.winner for one in found] == [None, None, "federated"]
    assert [one.why_open for one in found] == ["fewer than 20 people",
                                               "both worse than naming the mean", None]


def test_who_is_behind_beyond_chance_has_lost() -> None:
    found = adjust([difference("a", "pooled", 0.01, -1.0)], {("a", "r2")})
    assert found[0].winner == "pooled"
