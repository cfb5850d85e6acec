import numpy as np
import pytest

from braing3n.evaluation.metrics import Predictions
from simulation.compare.results import Answers, Measure, results_of

NUM = 60


def measure(guesses: dict[str, np.ndarray], truths: np.ndarray, **more: Answers) -> Measure:
    subjects = np.array([f"s{number // 2:02d}" for number in range(NUM)])  # two scans each
    sites = np.where(np.arange(NUM) < NUM // 2, "a", "b")
    everything = np.ones(NUM, dtype=bool)
    answers = {
        name: Answers(everything, Predictions(values[:, None], values, truths, None, subjects, sites))
        for name, values in guesses.items()}
    return Measure("age", "regression", "r2", subjects, sites, {**answers, **more})


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


def test_who_covers_half_of_the_scans_is_measured_on_that_half(truths: np.ndarray) -> None:
    guess = truths + np.where(np.arange(NUM) < NUM // 2, 1.0, 9.0)
    whole = measure({"all": guess}, truths)
    half = np.arange(NUM) < NUM // 2
    answers = whole.answers["all"].predictions
    assert answers is not None
    both = measure({"all": guess}, truths, some=Answers(half, answers.only(half), why_not=("b: no",)))
    some = {(one.metric, one.site): one for one in results_of(both, 0) if one.contestant == "some"}
    assert some["mae", None].num_subjects == 15
    assert some["mae", None].note == "b: no"
    assert ("mae", "b") not in some


def test_a_decoder_is_measured_by_its_figure_of_each_scan() -> None:
    subjects, sites = np.array(["s1", "s1", "s2"]), np.array(["a", "a", "b"])
    answers = Answers(np.ones(3, dtype=bool), scores={"psnr": np.array([20.0, 22.0, 30.0])})
    made = Measure("decoder", None, "psnr", subjects, sites, {"x": answers})
    found = {one.site: one.value for one in results_of(made, 0)}
    assert found == {None: pytest.approx(24), "a": pytest.approx(21), "b": pytest.approx(30)}


def test_a_site_with_one_class_alone_is_not_counted_within_sites() -> None:
    sites, truths = np.repeat(["a", "b"], 4), np.array(list("FMFM") + list("FFFF"))
    told = Predictions(np.arange(8.0)[:, None], truths, truths, None, np.arange(8).astype(str), sites,
                       ("F", "M"))
    made = Measure("sex", "classification", "auc_within_sites", told.subjects, sites,
                   {"x": Answers(np.ones(8, dtype=bool), told)})
    found = {one.metric: one for one in results_of(made, 0) if one.site is None}
    assert (found["auc_within_sites"].num_subjects, found["auc"].num_subjects) == (4, 8)
    assert found["auc_within_sites"].value == pytest.approx(3 / 4)
