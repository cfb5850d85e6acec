"""Ridge and linear discriminants from moments alone: the solutions that pooled volumes would give.

Features are standardised on what is trained on, which the same moments tell. A strength is chosen
by folds: the error on a left-out fold is a function of its moments too, so that no further
exchange is needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from braing3n.evaluation.fits.moments import Floats, Moments, merge, scales_of
from braing3n.evaluation.fits.spectrum import Spectrum, spectrum_of

# Of the ridge, by the number of volumes: a volume's features are standardised, so that 1 shrinks
# an average direction by half.
RIDGE_STRENGTHS = tuple(np.logspace(-4, 3, 15).tolist())
# Shares of the sphere in the covariance. 0 has no inverse where features are more than volumes.
SHRINKAGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)

# Moments of the features in each class.
Classes = Mapping[str, Moments]


@dataclass(frozen=True)
class LinearModel:
    """Scores that are linear in the features.

    Attributes:
        weights: (d, k), in the features' own units.
        intercepts: (k,).
    """

    weights: Floats
    intercepts: Floats

    @classmethod
    def of_standardised(cls, weights: Floats, intercepts: Floats, centre: Floats,
                        scales: Floats) -> "LinearModel":
        """Return the model in the features' own units.

        Args:
            weights: (d, k) of features from which `centre` was taken, divided by `scales`.
            intercepts: (k,) of the same.
            centre: (d,).
            scales: (d,).
        """
        own = weights / scales[:, None]                                     # (d, k)
        return cls(own, intercepts - centre @ own)

    def scores(self, features: Floats) -> Floats:
        """Return (n, k) scores of (n, d) features."""
        scores: Floats = np.asarray(features, dtype=np.float64) @ self.weights + self.intercepts
        return scores

    def spread(self, features: Moments) -> tuple[Floats, Floats]:
        """Return the mean and standard deviation, (k,) each, of the scores of these features."""
        mean = features.mean @ self.weights + self.intercepts
        variance = np.einsum("dk,de,ek->k", self.weights, features.scatter, self.weights,
                             optimize=True) / features.num
        return mean, np.sqrt(np.maximum(variance, 0))


@dataclass(frozen=True)
class Chosen:
    """A fitted probe.

    Attributes:
        model: Fitted on all folds.
        strength: What was chosen.
        errors: The left-out folds' error by strength.
    """

    model: LinearModel
    strength: float
    errors: Mapping[float, float]


def ridge(joint: Moments, scales: Floats, penalties: Sequence[float]) -> list[LinearModel]:
    """Return the ridge regressions on standardised features, one for each penalty.

    Each minimises the sum of squared errors plus penalty · |weights|², the weights being those of
    the standardised features and the intercept free.

    Args:
        joint: Of d features and behind them k targets.
        scales: (d,) what each feature is divided by.
        penalties: Above 0.
    """
    width = len(scales)
    inner = joint.scatter[:width, :width] / np.outer(scales, scales)        # (d, d)
    cross = joint.scatter[:width, width:] / scales[:, None]                 # (d, k)
    spectrum = spectrum_of(inner)
    models = []
    for penalty in penalties:
        weights = spectrum.solve(cross, 1.0, penalty) / scales[:, None]     # (d, k)
        models.append(LinearModel(weights, joint.mean[width:] - joint.mean[:width] @ weights))
    return models


def squared_error(model: LinearModel, joint: Moments) -> float:
    """Return the sum of squared errors over the rows that `joint` describes, and all targets."""
    width = len(model.weights)
    scatter, weights = joint.scatter, model.weights
    bias = joint.mean[width:] - joint.mean[:width] @ weights - model.intercepts  # (k,)
    spread = (np.trace(scatter[width:, width:]) - 2 * np.sum(scatter[:width, width:] * weights)
              + np.sum(weights * (scatter[:width, :width] @ weights)))
    return float(spread + joint.num * bias @ bias)


def choose_ridge(folds: Sequence[Moments],
                 strengths: Sequence[float] = RIDGE_STRENGTHS) -> Chosen:
    """Fit a ridge regression of one target, its strength chosen by left-out folds.

    Args:
        folds: Of the features and, last, the target, over all sites; two or more that have rows.
        strengths: Penalties by the number of training rows.
    """
    filled = [fold for fold in folds if fold.num]
    errors = dict.fromkeys(strengths, 0.0)
    for left_out in range(len(filled)):
        rest = merge(fold for number, fold in enumerate(filled) if number != left_out)
        for strength, model in zip(strengths, _ridge_of(rest, strengths), strict=True):
            errors[strength] += squared_error(model, filled[left_out])
    best = min(errors, key=errors.__getitem__)
    return Chosen(_ridge_of(merge(filled), [best])[0], best, errors)


def choose_class_ridge(folds: Sequence[Classes], names: Sequence[str],
                       strengths: Sequence[float] = RIDGE_STRENGTHS) -> Chosen:
    """Fit a ridge regression of ±1 for each class against the rest, all classes weighing alike.

    That is scikit-learn's RidgeClassifier with balanced class weights: one column of scores where
    there are two classes, of the second; else one a class, the largest naming the class.

    Args:
        folds: Moments by class, over all sites; each class is in two folds or more.
        names: The classes.
        strengths: Penalties by the number of training rows.
    """
    errors = dict.fromkeys(strengths, 0.0)
    for left_out, fold in enumerate(folds):
        rest = merge_classes(fold for number, fold in enumerate(folds) if number != left_out)
        weights = _balanced(rest, names)
        held = [_with_targets(fold[name], name, names).weighted(weights[name])
                for name in names if name in fold]
        if not held:
            continue
        models = _class_ridge_of(rest, names, strengths)
        for strength, model in zip(strengths, models, strict=True):
            errors[strength] += squared_error(model, merge(held))
    best = min(errors, key=errors.__getitem__)
    return Chosen(_class_ridge_of(merge_classes(folds), names, [best])[0], best, errors)


def discriminants(classes: Classes, names: Sequence[str],
                  shrinkages: Sequence[float]) -> list[LinearModel]:
    """Return linear discriminants of classes that weigh alike, one for each shrinkage.

    That is scikit-learn's LinearDiscriminantAnalysis(solver="lsqr") with equal priors on
    standardised features; for two classes, the one column is the second's score minus the first's.
    """
    means, scales, within = _within(classes, names)
    centre = merge(classes[name] for name in names).mean                    # (d,)
    models = []
    for shrinkage in shrinkages:
        weights = within.solve(means.T, 1 - shrinkage, _sphere(within, shrinkage))  # (d, k)
        intercepts = -0.5 * np.sum(means * weights.T, axis=1)               # (k,)
        weights = weights / scales[:, None]
        intercepts = intercepts - centre @ weights
        if len(names) == 2:
            weights, intercepts = weights[:, 1:] - weights[:, :1], intercepts[1:] - intercepts[:1]
        models.append(LinearModel(weights, intercepts))
    return models


def choose_discriminant(folds: Sequence[Classes], names: Sequence[str],
                        shrinkages: Sequence[float] = SHRINKAGES) -> Chosen:
    """Fit linear discriminants, the shrinkage chosen by the likelihood of left-out folds.

    The likelihood is that of the classes' normal distributions with one covariance, which is a
    function of the fold's moments.
    """
    errors = dict.fromkeys(shrinkages, 0.0)
    for left_out, fold in enumerate(folds):
        rest = merge_classes(fold for number, fold in enumerate(folds) if number != left_out)
        means, scales, within = _within(rest, names)
        centre = merge(rest[name] for name in names).mean                   # (d,)
        weights = _balanced(rest, names)
        rows, spread = 0.0, np.zeros((len(scales),) * 2)                    # (d, d)
        for number, name in enumerate(names):
            if name in fold:
                step = (fold[name].mean - centre) / scales - means[number]  # (d,)
                spread += weights[name] * (fold[name].scatter / np.outer(scales, scales)
                                           + fold[name].num * np.outer(step, step))
                rows += weights[name] * fold[name].num
        for shrinkage in shrinkages:
            scale, shift = 1 - shrinkage, _sphere(within, shrinkage)
            errors[shrinkage] += 0.5 * (rows * within.log_determinant(scale, shift)
                                        + within.trace_of_solved(spread, scale, shift))
    best = min(errors, key=errors.__getitem__)
    return Chosen(discriminants(merge_classes(folds), names, [best])[0], best, errors)


def merge_classes(parts: Iterable[Classes]) -> dict[str, Moments]:
    """Return each class's moments over all parts."""
    grouped: dict[str, list[Moments]] = {}
    for part in parts:
        for name, moments in part.items():
            grouped.setdefault(name, []).append(moments)
    return {name: merge(group) for name, group in grouped.items()}


def _ridge_of(joint: Moments, strengths: Sequence[float]) -> list[LinearModel]:
    features = Moments(joint.num, joint.mean[:-1], joint.scatter[:-1, :-1])
    return ridge(joint, scales_of(features), [strength * joint.num for strength in strengths])


def _class_ridge_of(classes: Classes, names: Sequence[str],
                    strengths: Sequence[float]) -> list[LinearModel]:
    features = merge(classes.values())
    weights = _balanced(classes, names)
    joint = merge(_with_targets(classes[name], name, names).weighted(weights[name])
                  for name in names)
    return ridge(joint, scales_of(features), [strength * features.num for strength in strengths])


def _with_targets(moments: Moments, name: str, names: Sequence[str]) -> Moments:
    """Return a class's moments with its targets: 1 for itself, -1 for the rest."""
    targets = [1.0 if other == name else -1.0 for other in names]
    return moments.with_constant(np.array(targets if len(names) > 2 else targets[1:]))


def _balanced(classes: Classes, names: Sequence[str]) -> dict[str, float]:
    """Return what a row of each class weighs, so that classes weigh alike and all rows as many."""
    total = sum(classes[name].num for name in names)
    return {name: total / (len(names) * classes[name].num) for name in names}


def _within(classes: Classes, names: Sequence[str]) -> tuple[Floats, Floats, Spectrum]:
    """Decompose the covariance of standardised features inside classes that weigh alike.

    Returns:
        Class means (k, d), what features were divided by (d,), and the covariance (d, d).
    """
    features = merge(classes[name] for name in names)
    scales = scales_of(features)
    means = np.stack([(classes[name].mean - features.mean) / scales for name in names])
    covariance = sum(classes[name].scatter / classes[name].num for name in names) / len(names)
    return means, scales, spectrum_of(covariance / np.outer(scales, scales))


def _sphere(within: Spectrum, shrinkage: float) -> float:
    """Return what shrinkage adds to each variance: its share of their mean."""
    # Where no feature varies inside a class, any covariance will do; this one has an inverse.
    return shrinkage * (float(within.values.sum()) / len(within.vectors) or 1.0)
