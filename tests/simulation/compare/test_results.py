import numpy as np
import pytest

from braing3n.evaluation.metrics import Predictions
from simulation.compare.results import Answers, Measure, differences_of, results_of

NUM = 60


def measure(guesses: dict[str, np.ndarray], truths: np.ndarray, **more: Answers) -> Measure:
    subjects = np.array([f"s{number // 2:02d}" for number in range(NUM)])  # two scans each
    sites = np.where(np.arange(NUM) < NUM // 2, "a", "b")
    everything = np.ones(NUM, dtype=bool)
    answers = {
        name: Answers(everything, Predictions(values[:, None], values, truths, None, subjects, sites))
        for name, values in guesses.items()}
    return Measure("age", "regression", subjects, sites, {**answers, **more})


@pytest.fixture
def truths() -> np.ndarray:
    return np.random.default_rng(0).uniform(20, 80, NUM)


def test_figures_are_those_of_all_scans_and_of_each_sites(truths: np.ndarray) -> None:
    guess = truths + np.where(np.arange(NUM) < NUM // 2, 1.0, 3.0)
    found = {(one.metric, one.site): one for one in results_of(measure({"x": guess}, truths), 0)}
    assert found["mae", "a"].value == pytest.approx(1)
    assert found["mae", "b"].value == pytest.approx(3)
    assert found["mae", None].value == pytest.approx(2)
    assert (found["mae", None].num_subjects, found["mae", None].num_scans) == (30, 60)
    assert (found["mae", "a"].num_subjects, found["mae", "a"].num_scans) == (15, 30)


def test_intervals_are_over_subjects_not_scans(truths: np.ndarray) -> None:
    """Errors that a subject's two scans share leave half as many independent numbers."""
    errors = np.repeat(np.random.default_rng(1).normal(0, 5, NUM // 2), 2)
    one = next(one for one in results_of(measure({"x": truths + errors}, truths), 0)
               if (one.metric, one.site) == ("mae", None))
    spread = np.abs(errors[::2]).std() / np.sqrt(NUM // 2)
    assert one.low is not None
    assert one.high is not None
    assert one.high - one.low == pytest.approx(2 * 1.96 * spread, rel=0.1)


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
    guess = truths + np.where(np.arange(NUM) < NUM // 2, 1.0, 9.0)
    whole = measure({"all": guess}, truths)
    half = np.arange(NUM) < NUM // 2
    answers = whole.answers["all"].predictions
    assert answers is not None
    both = measure({"all": guess}, truths, some=Answers(half, answers.only(half), why_not=("b: no",)))
    found = next(one for one in differences_of(both, [("all", "some")], 0) if one.metric == "mae")
    assert found.value == pytest.approx(0)
    assert (found.num_subjects, found.is_partial) == (15, True)
    some = {(one.metric, one.site): one for one in results_of(both, 0) if one.contestant == "some"}
    assert some["mae", None].num_subjects == 15
    assert some["mae", None].note == "b: no"
    assert ("mae", "b") not in some


def test_a_decoder_is_measured_by_its_figure_of_each_scan() -> None:
    subjects, sites = np.array(["s1", "s1", "s2"]), np.array(["a", "a", "b"])
    answers = Answers(np.ones(3, dtype=bool), scores={"psnr": np.array([20.0, 22.0, 30.0])})
    found = {one.site: one.value
             for one in results_of(Measure("decoder", None, subjects, sites, {"x": answers}), 0)}
    assert found == {None: pytest.approx(24), "a": pytest.approx(21), "b": pytest.approx(30)}
