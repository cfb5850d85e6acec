import numpy as np
import pytest

from braing3n.evaluation.fits.cox import choose_cox, cox_terms
from braing3n.evaluation.fits.logistic import balanced, choose_logistic, logistic_terms
from braing3n.evaluation.fits.moments import moments_of
from braing3n.evaluation.fits.newton import Terms, minimise
from braing3n.evaluation.fits.newton_problems import Lockstep, choose, cox_problems, logistic_problems

WIDTH = 4


def quadratic(target: float):
    def exchange(coefficients: np.ndarray) -> Terms:
        step = coefficients - target
        return Terms(float(step @ step), 2 * step, 2 * np.eye(len(step)))

    return exchange


def test_minimisations_in_lockstep_end_where_each_ends_alone():
    targets = {"a": 3.0, "b": -7.5, "c": 0.0}
    penalties = {name: np.full(2, 0.5) for name in targets}
    lockstep = Lockstep(penalties)
    while lockstep.asked:
        lockstep.take({name: quadratic(targets[name])(at) for name, at in lockstep.asked.items()})
    for name, target in targets.items():
        np.testing.assert_array_equal(
            lockstep.found[name], minimise(quadratic(target), penalties[name], np.zeros(2)))
    assert lockstep.failed == set()


def test_one_that_finds_no_minimum_does_not_stop_the_others():
    lockstep = Lockstep({"good": np.ones(1), "bad": np.ones(1)})
    while lockstep.asked:
        lockstep.take({name: quadratic(1.0)(at) if name == "good" else
                       Terms(float("nan"), at, np.eye(1)) for name, at in lockstep.asked.items()})
    assert lockstep.failed == {"bad"}
    assert set(lockstep.found) == {"good"}


def solved(problems, terms_at, losses_at):
    lockstep = Lockstep({place: problem.penalties for place, problem in enumerate(problems)})
    while lockstep.asked:
        lockstep.take({place: terms_at(problems[place], at) for place, at in lockstep.asked.items()})
    found = [lockstep.found[place] for place in range(len(problems))]
    return choose(problems, found, {place: losses_at(problem, found[place])
                                    for place, problem in enumerate(problems)
                                    if problem.left_out is not None})


@pytest.mark.parametrize("names", [("F", "M"), ("AD", "HC", "MCI")])
def test_the_choice_from_sums_is_that_of_the_rows(names):
    rng = np.random.default_rng(0)
    sites = []
    for number, num in enumerate((30, 50, 40)):
        labels = np.array(names)[np.arange(num) % len(names)]
        features = rng.normal(size=(num, WIDTH)) * [1, 2, 30, 0.1] + 5
        features[:, 0] += labels == names[1]
        sites.append((features, labels, np.full(num, number)))
    folds = [{name: moments_of(rows[labels == name]) for name in names} for rows, labels, _ in sites]

    def terms(problem, at, fold_is_left_out):
        total = Terms(0.0, np.zeros(len(at)), np.zeros((len(at),) * 2))
        for number, (rows, labels, _) in enumerate(sites):
            if (number == problem.left_out) == fold_is_left_out:
                positive = labels == problem.class_name
                part = logistic_terms((rows - problem.centre) / problem.scales, positive, np.where(
                    positive, problem.inside, problem.outside), at)
                total = Terms(total.loss + part.loss, total.gradient + part.gradient,
                              total.hessian + part.hessian)
        return total

    ours = solved(logistic_problems(folds, names), lambda problem, at: terms(problem, at, False),
                  lambda problem, at: terms(problem, at, True).loss)
    expected = choose_logistic(sites, names)
    assert ours.errors == pytest.approx(dict(expected.errors))
    assert ours.strength == expected.strength
    np.testing.assert_allclose(ours.model.weights, expected.model.weights, atol=1e-8)
    np.testing.assert_allclose(ours.model.intercepts, expected.model.intercepts, atol=1e-8)


def test_the_choice_of_a_cox_regression_from_sums_is_that_of_the_rows():
    rng = np.random.default_rng(0)
    sites = [(rng.normal(size=(num, WIDTH)) + 5, np.ceil(rng.exponential(20, num)),
              rng.random(num) < 0.7, np.full(num, number)) for number, num in enumerate((30, 50, 40))]

    def terms(problem, at, fold_is_left_out):
        parts = [cox_terms((rows - problem.centre) / problem.scales, times, events, at)
                 for number, (rows, times, events, _) in enumerate(sites)
                 if (number == problem.left_out) == fold_is_left_out]
        return Terms(sum(p.loss for p in parts), sum(p.gradient for p in parts),
                     sum(p.hessian for p in parts))

    problems = cox_problems([moments_of(site[0]) for site in sites],
                            [int(site[2].sum()) for site in sites])
    ours = solved(problems, lambda problem, at: terms(problem, at, False),
                  lambda problem, at: terms(problem, at, True).loss)
    expected = choose_cox(sites)
    assert ours.errors == pytest.approx(dict(expected.errors))
    assert ours.strength == expected.strength
    np.testing.assert_allclose(ours.model.weights, expected.model.weights, atol=1e-8)


def test_classes_weigh_alike():
    inside, outside = balanced(30, 10)
    assert inside * 10 == outside * 20 == 15
