import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from braing3n.errors import DivergedError
from braing3n.evaluation.fits.logistic import choose_logistic, fit_logistic, logistic_terms
from braing3n.evaluation.fits.newton import Terms, minimise

SITES = (5, 50, 9, 36)


def _data(width: int, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(sum(SITES), width)) * np.logspace(-2, 2, width) + 7
    signal = (features[:, 0] - 7) * 100 + rng.normal(size=len(features))
    return features, np.array(names)[np.digitize(signal, np.linspace(0.5, 1.3, len(names) - 1))]


def _sites(features: np.ndarray, labels: np.ndarray) -> list[tuple]:
    folds = np.arange(len(labels)) % 5
    places = np.cumsum(SITES)[:-1]
    return list(zip(*(np.split(part, places) for part in (features, labels, folds)), strict=True))


@pytest.mark.parametrize("width", [5, 150], ids=["few", "more than volumes"])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_newton_steps_over_sites_end_where_the_pooled_fit_does(width: int, strength: float):
    features, labels = _data(width, ("F", "M"))
    ours, _ = fit_logistic(_sites(features, labels), ("F", "M"), strength)
    pooled = make_pipeline(StandardScaler(), LogisticRegression(
        C=strength, class_weight="balanced", tol=1e-10, max_iter=100_000)).fit(features, labels)
    np.testing.assert_allclose(ours.weights[:, 0] * pooled[0].scale_, pooled[1].coef_[0], atol=1e-6)
    np.testing.assert_allclose(ours.scores(features)[:, 0], pooled.decision_function(features),
                               rtol=1e-6, atol=1e-6)


def test_more_classes_are_each_told_from_the_rest():
    names = ("AD", "HC", "MCI")
    features, labels = _data(5, names)
    ours, _ = fit_logistic(_sites(features, labels), names, 0.1)
    pooled = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(
        C=0.1, class_weight="balanced", tol=1e-10, max_iter=100_000))).fit(features, labels)
    np.testing.assert_allclose(ours.scores(features), pooled.decision_function(features), atol=1e-6)


def test_the_strength_is_the_one_with_the_least_log_loss_on_left_out_folds():
    features, labels = _data(5, ("F", "M"))
    chosen = choose_logistic(_sites(features, labels), ("F", "M"), (1e-4, 1e-2, 1.0))
    folds = np.concatenate([rows[2] for rows in _sites(features, labels)])
    for strength, error in chosen.errors.items():
        expected = 0.0
        for fold in range(5):
            train, test = folds != fold, folds == fold
            pooled = make_pipeline(StandardScaler(), LogisticRegression(
                C=strength, class_weight="balanced", tol=1e-10, max_iter=100_000))
            odds = pooled.fit(features[train], labels[train]).predict_log_proba(features[test])
            for row, label in zip(odds, labels[test], strict=True):
                weight = train.sum() / (2 * (labels[train] == label).sum())
                expected -= weight * row["FM".index(label)]
        assert error == pytest.approx(expected, rel=1e-6)
    assert chosen.strength == min(chosen.errors, key=chosen.errors.get)


def test_gradient_and_hessian_are_those_of_finite_differences():
    rng = np.random.default_rng(1)
    features, positive, weights = rng.normal(size=(20, 3)), rng.random(20) < 0.4, rng.random(20)
    at, step = rng.normal(size=4), 1e-6
    terms = logistic_terms(features, positive, weights, at)
    for number in range(4):
        shift = np.eye(4)[number] * step
        above, below = (logistic_terms(features, positive, weights, at + s) for s in (shift, -shift))
        slope = (above.loss - below.loss) / (2 * step)
        assert terms.gradient[number] == pytest.approx(slope, rel=1e-6)
        np.testing.assert_allclose(
            terms.hessian[number], (above.gradient - below.gradient) / (2 * step), rtol=1e-5, atol=1e-8)


def test_a_full_step_that_would_overshoot_is_damped():
    # Newton alone diverges on sqrt(1 + x²) from |x| > 1.
    def exchange(x: np.ndarray) -> Terms:
        root = np.sqrt(1 + x[0] ** 2)
        return Terms(float(root), x / root, np.array([[root**-3]]))

    assert abs(minimise(exchange, np.zeros(1), np.array([5.0]))[0]) < 1e-6


def test_a_loss_that_is_not_finite_is_told_in_words():
    with pytest.raises(DivergedError, match="cannot be fitted"):
        minimise(lambda x: Terms(np.nan, x, np.eye(1)), np.ones(1), np.ones(1))
