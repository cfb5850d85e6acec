"""Ranked pairs: the areas under curves and concordances of many resamples at once.

Weights (R, n) are how often each of R resamples has each volume; a row of ones is the plain figure.
"""

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.fits.moments import Floats


def auc(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return (R,) areas under the ROC curve.

    Args:
        scores: (n,).
        positive: (n,).
        weights: (R, n).
    """
    return ratio(*ranked_pairs(scores, positive, weights))


def ranked_pairs(scores: Floats, positive: NDArray[np.bool_],
                 weights: Floats) -> tuple[Floats, Floats]:
    """Return (R,) pairs, one of each class, that are ranked rightly, and (R,) pairs in all.

    Their ratio is the area under the ROC curve, a tie counting one half: Hanley and McNeil (1982),
    https://doi.org/10.1148/radiology.143.1.7063747.

    Args:
        scores: (n,).
        positive: (n,).
        weights: (R, n).
    """
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)              # of the t different ones
    ones = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)     # (R, t)
    zeros = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)   # (R, t)
    below = np.cumsum(zeros, axis=1) - 0.5 * zeros                                  # (R, t)
    return (ones * below).sum(axis=1), ones.sum(axis=1) * zeros.sum(axis=1)


def c_index(times: Floats, events: NDArray[np.bool_], scores: Floats, sites: NDArray[np.str_],
            weights: Floats) -> Floats:
    """Return (R,) Harrell's concordance over pairs of one site, a tie of scores counting one half.

    A pair counts where the earlier of the two times is an event's; of one time, where one is an
    event's and the other is not.
    """
    return ratio(*concordant_pairs(times, events, scores, sites, weights))


def concordant_pairs(times: Floats, events: NDArray[np.bool_], scores: Floats,
                     sites: NDArray[np.str_], weights: Floats) -> tuple[Floats, Floats]:
    """Return (R,) the pairs of `c_index` that are ranked rightly, and all of them."""
    earlier = (times[:, None] < times) | ((times[:, None] == times) & ~events)
    counts = (events[:, None] & earlier & (sites[:, None] == sites)).astype(np.float64)  # (n, n)
    right = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    won = ((weights @ (counts * right)) * weights).sum(axis=1)
    return won, ((weights @ counts) * weights).sum(axis=1)


def ratio(over: Floats, under: Floats) -> Floats:
    """Return over / under, NaN where that divides by 0."""
    found: Floats = np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)
    return found
