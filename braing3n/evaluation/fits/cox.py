"""Cox regression stratified by site: who is at risk beside whom is asked inside a site only.

So the partial likelihood is a sum over sites, and the federated solution is the pooled stratified
one exactly: Cox (1975), https://doi.org/10.1093/biomet/62.2.269. Ties are Breslow's (1974).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.fits.linear_fits import Chosen, LinearModel
from braing3n.evaluation.fits.moments import Floats, merge, moments_of, scales_of
from braing3n.evaluation.fits.newton import Terms, minimise, sum_terms

# Weight of the ridge by the number of events; strongest first.
STRENGTHS = tuple(np.logspace(2, -3, 6).tolist())

# A site's rows: features (n, d), times (n,), whether it is an event's (n,), inner folds (n,).
Rows = tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.intp]]


def cox_terms(features: Floats, times: Floats, events: NDArray[np.bool_],
              coefficients: Floats) -> Terms:
    """Return a site's negative log partial likelihood and its derivatives.

    Args:
        features: (n, d), standardised by the federation's means and deviations.
        times: (n,) until the event, or until last seen.
        events: (n,) whether it happened then.
        coefficients: (d,).
    """
    width = features.shape[1]
    if not events.any():
        return Terms(0.0, np.zeros(width), np.zeros((width, width)))
    order = np.argsort(-times, kind="stable")
    features, times, events = features[order], times[order], events[order]
    # At risk are all who were seen as long or longer; those of one time are so together.
    last = np.searchsorted(-times, -times, side="right") - 1          # (n,)
    scores = features @ coefficients                                  # (n,)
    top = scores.max()
    risks = np.exp(scores - top)                                      # (n,)
    at_risk = np.cumsum(risks)[last][events]                          # (e,)
    means = (np.cumsum(risks[:, None] * features, axis=0)[last][events]
             / at_risk[:, None])                                      # (e, d)
    # How often a row is at risk, each time by the inverse of that risk set's sum.
    hazards = np.zeros(len(times))
    np.add.at(hazards, last[events], 1 / at_risk)
    shares = risks * np.cumsum(hazards[::-1])[::-1]                   # (n,)
    return Terms(float((np.log(at_risk) + top - scores[events]).sum()),
                 (means - features[events]).sum(axis=0),
                 features.T @ (features * shares[:, None]) - means.T @ means)


def fit_cox(sites: Sequence[Rows], strength: float, start: Floats | None = None,
            ) -> tuple[LinearModel, Floats]:
    """Fit a Cox regression with a ridge; a site is a stratum.

    Args:
        sites: Every site's training rows.
        strength: Weight of ½ |coefficients|², by the number of events.
        start: (d,) coefficients to begin from.

    Returns:
        The model, whose score is the log of the hazard but for a constant of the site, and the
        coefficients of the standardised features.
    """
    features = merge(moments_of(rows[0]) for rows in sites)
    scales = scales_of(features)
    standardised = [((rows[0] - features.mean) / scales, rows[1], rows[2]) for rows in sites]
    num_events = sum(int(rows[2].sum()) for rows in sites)
    found = minimise(
        lambda coefficients: sum_terms(cox_terms(*rows, coefficients) for rows in standardised),
        np.full(len(scales), strength * num_events),
        np.zeros(len(scales)) if start is None else start)
    return LinearModel.of_standardised(found[:, None], np.zeros(1), features.mean, scales), found


def choose_cox(sites: Sequence[Rows], strengths: Sequence[float] = STRENGTHS) -> Chosen:
    """Fit a Cox regression, its ridge chosen by the partial likelihood of left-out folds."""
    errors = dict.fromkeys(strengths, 0.0)
    for fold in sorted({int(number) for rows in sites for number in rows[3]}):
        rest = [_of(rows, rows[3] != fold) for rows in sites]
        held = [_of(rows, rows[3] == fold) for rows in sites]
        start: Floats | None = None
        for strength in sorted(strengths, reverse=True):
            model, start = fit_cox(rest, strength, start)
            errors[strength] += sum(
                cox_terms(features, times, events, model.weights[:, 0]).loss
                for features, times, events, _ in held)
    best = min(errors, key=errors.__getitem__)
    return Chosen(fit_cox(sites, best)[0], best, errors)


def _of(rows: Rows, chosen: NDArray[np.bool_]) -> Rows:
    return rows[0][chosen], rows[1][chosen], rows[2][chosen], rows[3][chosen]
