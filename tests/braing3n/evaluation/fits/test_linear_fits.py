import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from braing3n.evaluation.fits.linear_fits import (
    choose_class_ridge,
    choose_discriminant,
    choose_ridge,
    discriminants,
    merge_classes,
    ridge,
    squared_error,
)
from braing3n.evaluation.fits.moments import Moments, merge, moments_of, scales_of

SITES = (3, 40, 11, 66)  # volumes of each: unequal


def _features(width: int, seed: int = 0) -> np.ndarray:
    """Columns of unlike size, two of them nearly the same, far from 0."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(sum(SITES), width)) * np.logspace(-3, 3, width)
    rows += np.linspace(-50, 50, width)
    rows[:, 1] = rows[:, 0] * (1 + 1e-6 * rng.normal(size=len(rows)))
    return rows


def _split(rows: np.ndarray) -> list[np.ndarray]:
    return np.split(rows, np.cumsum(SITES)[:-1])


def _without_target(joint: Moments) -> Moments:
    return Moments(joint.num, joint.mean[:-1], joint.scatter[:-1, :-1])


@pytest.mark.parametrize("width", [8, 60, 300], ids=["few", "many", "more than volumes"])
@pytest.mark.parametrize("penalty", [1e-2, 10.0, 1e4])
def test_ridge_from_sums_over_sites_is_the_pooled_solution(width: int, penalty: float):
    features = _features(width)
    rng = np.random.default_rng(1)
    target = features @ (rng.normal(size=width) / np.logspace(-3, 3, width)) + rng.normal(
        size=len(features)) + 60
    joint = merge(moments_of(part) for part in _split(np.column_stack([features, target])))
    ours = ridge(joint, scales_of(_without_target(joint)), [penalty])[0]
    pooled = make_pipeline(StandardScaler(), Ridge(alpha=penalty, solver="svd")).fit(features, target)
    np.testing.assert_allclose(ours.scores(features)[:, 0], pooled.predict(features), atol=1e-6)
    np.testing.assert_allclose(ours.weights[:, 0] * pooled[0].scale_, pooled[1].coef_, atol=1e-6)
    assert squared_error(ours, joint) == pytest.approx(
        ((pooled.predict(features) - target) ** 2).sum(), rel=1e-6, abs=1e-6)


def _classes(features: np.ndarray, labels: np.ndarray) -> dict[str, Moments]:
    """Each class's moments over sites; at a site, a class may be absent."""
    sites = zip(_split(features), _split(labels), strict=True)
    return merge_classes([{name: moments_of(rows[own == name]) for name in np.unique(own)}
                          for rows, own in sites])


def _labels(features: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Unequal classes that the third feature tells in part."""
    rng = np.random.default_rng(2)
    signal = (features[:, 2] - features[:, 2].mean()) / features[:, 2].std() + rng.normal(
        size=len(features))
    return np.array(names)[np.digitize(signal, np.linspace(0.6, 1.4, len(names) - 1))]


@pytest.mark.parametrize("names", [("F", "M"), ("AD", "HC", "MCI", "PD")], ids=["two", "four"])
@pytest.mark.parametrize("width", [8, 300], ids=["few", "more than volumes"])
def test_class_ridge_is_scikit_learns_balanced_classifier(names: tuple[str, ...], width: int):
    features = _features(width)
    labels = _labels(features, names)
    fold = _classes(features, labels)
    chosen = choose_class_ridge([fold, fold], names, [0.1])
    pooled = make_pipeline(StandardScaler(), RidgeClassifier(
        alpha=0.1 * 2 * len(features), class_weight="balanced", solver="svd"))
    pooled.fit(np.concatenate([features] * 2), np.concatenate([labels] * 2))
    expected = pooled.decision_function(features).reshape(len(features), -1)
    np.testing.assert_allclose(chosen.model.scores(features), expected, atol=1e-6)


@pytest.mark.parametrize("names", [("F", "M"), ("AD", "HC", "MCI", "PD")], ids=["two", "four"])
@pytest.mark.parametrize("width", [8, 300], ids=["few", "more than volumes"])
@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize("shrinkage", [0.01, 0.5])
def test_discriminants_are_those_of_scikit_learn(names: tuple[str, ...], width: int, solver: str,
                                                 shrinkage: float):
    features = _features(width)
    labels = _labels(features, names)
    ours = discriminants(_classes(features, labels), names, [shrinkage])[0]
    pooled = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(
        solver=solver, shrinkage=shrinkage, priors=[1 / len(names)] * len(names)))
    pooled.fit(features, labels)
    found, expected = ours.scores(features), pooled.decision_function(features)
    if len(names) == 2:
        found = found[:, 0]
    else:  # scores that differ by a number a volume name the same class with the same odds
        found, expected = (rows - rows.mean(axis=1, keepdims=True) for rows in (found, expected))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_the_strength_of_a_ridge_is_the_one_that_cross_validation_by_volumes_finds():
    features = _features(20)
    rng = np.random.default_rng(3)
    target = features[:, 2] / features[:, 2].std() + rng.normal(size=len(features))
    folds = np.arange(len(features)) % 5
    joint = np.column_stack([features, target])
    strengths = (0.001, 0.03, 1.0, 30.0)
    chosen = choose_ridge([moments_of(joint[folds == fold]) for fold in range(5)], strengths)
    for strength in strengths:
        error = 0.0
        for fold in range(5):
            train, test = folds != fold, folds == fold
            pooled = make_pipeline(StandardScaler(), Ridge(strength * train.sum(), solver="svd"))
            pooled.fit(features[train], target[train])
            error += ((pooled.predict(features[test]) - target[test]) ** 2).sum()
        assert chosen.errors[strength] == pytest.approx(error, rel=1e-6)
    assert chosen.strength == min(chosen.errors, key=chosen.errors.get)


def test_the_error_of_a_shrinkage_is_the_likelihood_of_the_left_out_volumes():
    features, names = _features(6), ("F", "M")
    labels = _labels(features, names)
    folds = np.arange(len(features)) % 2
    parts = [{name: moments_of(features[(folds == fold) & (labels == name)]) for name in names}
             for fold in range(2)]
    chosen = choose_discriminant(parts, names, (0.1, 0.9))
    expected = {0.1: 0.0, 0.9: 0.0}
    for train, test in ((folds == 0, folds == 1), (folds == 1, folds == 0)):
        scaler = StandardScaler().fit(features[train])
        known, asked = scaler.transform(features[train]), scaler.transform(features[test])
        model = {s: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=s, priors=[0.5, 0.5]).fit(
            known, labels[train]) for s in expected}
        weight = {name: train.sum() / (2 * (labels[train] == name).sum()) for name in names}
        for shrinkage, fitted in model.items():
            for row, label in zip(asked, labels[test], strict=True):
                step = row - fitted.means_[names.index(label)]
                expected[shrinkage] += weight[label] * 0.5 * (
                    np.linalg.slogdet(fitted.covariance_)[1]
                    + step @ np.linalg.solve(fitted.covariance_, step))
    assert chosen.errors == pytest.approx(expected, rel=1e-6)


def test_the_spread_of_scores_is_told_by_the_features_moments():
    features = _features(8)
    joint = moments_of(np.column_stack([features, features[:, 3]]))
    model = ridge(joint, scales_of(_without_target(joint)), [5.0])[0]
    mean, deviation = model.spread(moments_of(features))
    scores = model.scores(features)
    np.testing.assert_allclose(mean, scores.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(deviation, scores.std(axis=0), rtol=1e-6)
