"""Logistic regression whose volumes stay at their sites: each step is one sum over the sites."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from braing3n.evaluation.fits.linear_fits import Chosen, LinearModel
from braing3n.evaluation.fits.moments import Floats, merge, moments_of, scales_of
from braing3n.evaluation.fits.newton import Exchange, Terms, minimise, sum_terms

# C, the inverse of the ridge's weight, as scikit-learn counts it; strongest ridge first.
STRENGTHS = tuple(np.logspace(-5, 0, 6).tolist())

# A site's rows: features (n, d), classes (n,) and inner folds (n,).
Rows = tuple[Floats, NDArray[np.str_], NDArray[np.intp]]


def logistic_terms(features: Floats, positive: NDArray[np.bool_], weights: Floats,
                   coefficients: Floats) -> Terms:
    """Return a site's log loss and its derivatives.

    Args:
        features: (n, d), standardised by the federation's means and deviations.
        positive: (n,) whether a row is of the class.
        weights: (n,) what each row counts.
        coefficients: (d + 1,) of the features and, last, the intercept.
    """
    design = np.column_stack([features, np.ones(len(features))])     # (n, d + 1)
    signs = np.where(positive, 1.0, -1.0)                            # (n,)
    margins = signs * (design @ coefficients)                        # (n,)
    wrong = expit(-margins)                                          # (n,)
    curvature = weights * wrong * (1 - wrong)                        # (n,)
    return Terms(float(weights @ np.logaddexp(0, -margins)), design.T @ (-weights * signs * wrong),
                 design.T @ (design * curvature[:, None]))


def fit_logistic(sites: Sequence[Rows], names: Sequence[str], strength: float,
                 start: Mapping[str, Floats] | None = None) -> tuple[LinearModel, dict[str, Floats]]:
    """Fit one logistic regression a class against the rest; one alone where there are two classes.

    Each is scikit-learn's LogisticRegression(C=strength, class_weight="balanced") on standardised
    features, several are its OneVsRestClassifier.

    Args:
        sites: Every site's training rows.
        names: The classes; of two, the second is the one that is told.
        strength: C.
        start: Coefficients to begin from, by class.

    Returns:
        The model, and the coefficients by class to begin another from.
    """
    features = merge(moments_of(rows[0]) for rows in sites)
    scales = scales_of(features)
    standardised = [(rows[0] - features.mean) / scales for rows in sites]  # of (n, d)
    penalties = np.full(len(scales) + 1, 1 / strength)                     # (d + 1,)
    penalties[-1] = 0.0
    found = {}
    for name in names if len(names) > 2 else names[1:]:
        positive = [rows[1] == name for rows in sites]
        found[name] = minimise(_exchange(standardised, positive), penalties,
                               (start or {}).get(name, np.zeros(len(scales) + 1)))
    columns = np.stack(list(found.values()), axis=1)                       # (d + 1, k)
    return LinearModel.of_standardised(columns[:-1], columns[-1], features.mean, scales), found


def choose_logistic(sites: Sequence[Rows], names: Sequence[str],
                    strengths: Sequence[float] = STRENGTHS) -> Chosen:
    """Fit logistic regressions, their strength chosen by the log loss of left-out folds."""
    errors = dict.fromkeys(strengths, 0.0)
    for fold in sorted({int(number) for rows in sites for number in rows[2]}):
        rest = [_of(rows, rows[2] != fold) for rows in sites]
        held = [_of(rows, rows[2] == fold) for rows in sites]
        start: dict[str, Floats] | None = None
        for strength in sorted(strengths):  # each begins where a stronger ridge ended
            model, start = fit_logistic(rest, names, strength, start)
            errors[strength] += _loss(model, rest, held, names)
    best = min(errors, key=errors.__getitem__)
    return Chosen(fit_logistic(sites, names, best)[0], best, errors)


def _exchange(sites: Sequence[Floats], positive: Sequence[NDArray[np.bool_]]) -> Exchange:
    """Return what asks every site for its terms at some coefficients, and sums them."""
    inside, outside = _balanced(positive)

    def exchange(coefficients: Floats) -> Terms:
        return sum_terms(logistic_terms(rows, is_it, np.where(is_it, inside, outside), coefficients)
                         for rows, is_it in zip(sites, positive, strict=True))

    return exchange


def _of(rows: Rows, chosen: NDArray[np.bool_]) -> Rows:
    return rows[0][chosen], rows[1][chosen], rows[2][chosen]


def _loss(model: LinearModel, rest: Sequence[Rows], held: Sequence[Rows],
          names: Sequence[str]) -> float:
    """Return the log loss of left-out rows, weighted as the training rows are."""
    total = 0.0
    for column, name in enumerate(names if len(names) > 2 else names[1:]):
        weights = _balanced([rows[1] == name for rows in rest])
        for features, labels, _ in held:
            signs = np.where(labels == name, 1.0, -1.0)              # (n,)
            margins = signs * model.scores(features)[:, column]      # (n,)
            total += float(np.where(labels == name, *weights) @ np.logaddexp(0, -margins))
    return total


def _balanced(positive: Sequence[NDArray[np.bool_]]) -> tuple[float, float]:
    """Return what a row of the class weighs, and one of the rest, so that both weigh alike."""
    return balanced(sum(map(len, positive)), sum(int(part.sum()) for part in positive))


def balanced(total: float, inside: float) -> tuple[float, float]:
    """Return the same where `total` rows are known, of which `inside` are of the class."""
    return total / (2 * inside), total / (2 * (total - inside))
