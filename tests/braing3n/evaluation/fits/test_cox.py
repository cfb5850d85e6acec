import math

import numpy as np
import pytest
from scipy.optimize import minimize

from braing3n.evaluation.fits.cox import choose_cox, cox_terms, fit_cox


def _site(num: int, width: int, seed: int, *, ties: bool = False) -> tuple:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num, width)) * np.linspace(1, 5, width) + 3
    # Each site has a time scale of its own, so that its people cannot be compared with others'.
    times = rng.exponential(10.0 ** rng.integers(0, 3), num) * np.exp(-(features[:, 0] - 3))
    if ties:
        times = np.ceil(times * 5 / times.max())
    return features, times, rng.random(num) < 0.7, np.arange(num) % 5


def _naive_loss(features: np.ndarray, times: np.ndarray, events: np.ndarray,
                coefficients: np.ndarray) -> float:
    """Breslow (1974), event by event."""
    scores = features @ coefficients
    return -sum(scores[i] - math.log(sum(math.exp(scores[j]) for j in range(len(times))
                                         if times[j] >= times[i]))
                for i in range(len(times)) if events[i])


@pytest.mark.parametrize("ties", [False, True])
def test_the_partial_likelihood_is_that_of_a_naive_loop(ties: bool):
    features, times, events, _ = _site(25, 3, 0, ties=ties)
    at = np.array([0.3, -0.2, 0.05])
    terms = cox_terms(features, times, events, at)
    assert terms.loss == pytest.approx(_naive_loss(features, times, events, at), rel=1e-12)
    step = 1e-6
    for number in range(3):
        shift = np.eye(3)[number] * step
        above, below = (cox_terms(features, times, events, at + s) for s in (shift, -shift))
        assert terms.gradient[number] == pytest.approx((above.loss - below.loss) / (2 * step),
                                                       rel=1e-5, abs=1e-7)
        np.testing.assert_allclose(terms.hessian[number],
                                   (above.gradient - below.gradient) / (2 * step), rtol=1e-4, atol=1e-6)


def test_the_fit_over_sites_is_that_of_a_pooled_stratified_optimiser():
    sites = [_site(num, 4, seed, ties=seed == 2) for seed, num in enumerate((6, 30, 15))]
    features = np.concatenate([site[0] for site in sites])
    mean, scale = features.mean(axis=0), features.std(axis=0)
    penalty = 0.1 * sum(site[2].sum() for site in sites)

    def pooled(coefficients: np.ndarray) -> float:
        return sum(_naive_loss((x - mean) / scale, t, e, coefficients)
                   for x, t, e, _ in sites) + penalty / 2 * coefficients @ coefficients

    expected = minimize(pooled, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    model, found = fit_cox(sites, 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(model.scores(features)[:, 0], (features - mean) / scale @ expected,
                               atol=1e-5)


def test_a_sites_unit_of_time_does_not_matter():
    sites = [_site(20, 3, seed) for seed in range(3)]
    in_days = [(x, t * 365.25 if number == 1 else t, e, f) for number, (x, t, e, f) in enumerate(sites)]
    np.testing.assert_allclose(fit_cox(sites, 0.1)[1], fit_cox(in_days, 0.1)[1], atol=1e-12)


def test_a_site_without_any_event_adds_nothing():
    sites = [_site(20, 3, seed) for seed in range(2)]
    quiet = (sites[0][0], sites[0][1], np.zeros(20, dtype=bool), sites[0][3])
    assert not cox_terms(quiet[0], quiet[1], quiet[2], np.ones(3)).hessian.any()


def test_the_ridge_is_the_one_with_the_best_likelihood_of_left_out_folds():
    sites = [_site(40, 6, seed) for seed in range(2)]
    chosen = choose_cox(sites, (1.0, 0.01))
    for strength, error in chosen.errors.items():
        expected = 0.0
        for fold in range(5):
            model, _ = fit_cox([tuple(part[site[3] != fold] for part in site) for site in sites],
                               strength)
            expected += sum(_naive_loss(x[f == fold], t[f == fold], e[f == fold], model.weights[:, 0])
                            for x, t, e, f in sites)
        assert error == pytest.approx(expected, rel=1e-6)
    assert chosen.strength == min(chosen.errors, key=chosen.errors.get)
