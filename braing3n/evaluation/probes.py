"""Linear probes: how much a frozen network's features say about a label.

Everything that is fitted, also the standardisation and the strength of the ridge, is fitted on
training folds only, and all scans of one subject are always in the same fold: otherwise a
network that merely recognises people would score.
"""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from monai.networks.layers import GaussianFilter
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from braing3n.errors import CohortError

THUMBNAIL_SHAPE = (16, 20, 16)

_NUM_FOLDS = 5
_NUM_INNER_FOLDS = 3
_NUM_RESAMPLES = 2000
_STRENGTHS = np.logspace(-5, 0, 6)  # C, the inverse of the ridge's weight

Floats = NDArray[np.floating]
Labels = NDArray[np.generic]


@dataclass(frozen=True)
class ProbeResult:
    """One probe's figures.

    Attributes:
        auc: Area under the ROC curve of out-of-fold scores, mean over shuffles of the folds.
        auc_low: 2.5th percentile of it over resampled subjects.
        auc_high: 97.5th percentile. The networks are not fitted again for the interval.
        num: Number of scans.
    """

    auc: float
    auc_low: float
    auc_high: float
    num: int


def probe_binary(features: Floats, labels: Labels, groups: Labels, seed: int,
                 num_shuffles: int = 5) -> ProbeResult:
    """Return how well a ridge logistic regression on `features` tells two classes apart.

    The AUC is the share of pairs (one of each class) that are ranked rightly, a tie counting
    one half: Hanley and McNeil (1982), https://doi.org/10.1148/radiology.143.1.7063747.

    Args:
        features: (n, d) frozen features, one row a scan.
        labels: (n,) of 0 and 1.
        groups: (n,) the subject of each scan.
        seed: Seeds the shuffles of the folds and the resampling of subjects.
        num_shuffles: How often the folds are drawn anew; more, and the draw matters less.

    Raises:
        ValueError: The arrays do not fit, are not finite, or labels are not 0 and 1.
        CohortError: A class has fewer subjects than inner and outer folds need.
    """
    features = np.asarray(features, dtype=np.float64)  # (n, d)
    labels = np.asarray(labels)                        # (n,)
    _, subjects = np.unique(groups, return_inverse=True)  # (n,) of 0 .. subjects - 1
    _check(features, labels, subjects)
    rng = np.random.default_rng(seed)
    # Many tiny fits: waiting for each other's threads would take longer than the sums.
    with threadpool_limits(1):
        wins = np.mean([
            _wins(_out_of_fold_scores(features, labels, subjects, int(rng.integers(2**31))),
                  labels)
            for _ in range(num_shuffles)
        ], axis=0)                                     # (positives, negatives)
    low, high = _interval(wins, labels, subjects, rng)
    return ProbeResult(auc=float(wins.mean()), auc_low=low, auc_high=high, num=len(labels))


def thumbnails(volumes: Tensor) -> Tensor:
    """Return smoothed and reduced volumes: the features that a network has to beat.

    Args:
        volumes: (n, 1, X, Y, Z) z-scored volumes on a model's grid, which is never smaller
            than a thumbnail.

    Returns:
        (n, 16 · 20 · 16) intensities.
    """
    # Half of the reduction is the usual width against aliasing.
    sigma = [size / small / 2 for size, small in zip(volumes.shape[2:], THUMBNAIL_SHAPE,
                                                     strict=True)]
    smoothed = GaussianFilter(spatial_dims=3, sigma=sigma)(volumes)         # (n, 1, X, Y, Z)
    small = F.interpolate(smoothed, size=THUMBNAIL_SHAPE, mode="trilinear",
                          align_corners=False)                              # (n, 1, 16, 20, 16)
    return small.flatten(1)                                                 # (n, 5120)


def _check(features: Floats, labels: Labels, subjects: Labels) -> None:
    if features.ndim != 2 or labels.shape != subjects.shape or len(features) != len(labels):
        raise ValueError(f"features {features.shape}, labels {labels.shape} and groups "
                         f"{subjects.shape} do not have one row a scan each")
    if not np.isfinite(features).all():
        raise ValueError("features are not all finite numbers")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels are 0 and 1, not {np.unique(labels)}")
    fewest = min(len(np.unique(subjects[labels == label])) for label in (0, 1))
    # Every inner and outer fold then holds both classes.
    if fewest < 2 * _NUM_FOLDS:
        raise CohortError("too few subjects for a probe",
                          expected=f"at least {2 * _NUM_FOLDS} subjects of each class",
                          found=f"a class with {fewest}", fix="probe a larger cohort")


def _out_of_fold_scores(features: Floats, labels: Labels, subjects: Labels,
                        seed: int) -> Floats:
    """Return (n,) scores, each by a model that saw nobody of that scan's fold."""
    scores = np.empty(len(labels))
    folds = StratifiedGroupKFold(_NUM_FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(features, labels, subjects):
        # All components: a rotation, which a ridge does not see, to far fewer columns.
        prepare = make_pipeline(StandardScaler(), PCA(svd_solver="full"))
        inner = StratifiedGroupKFold(_NUM_INNER_FOLDS, shuffle=True, random_state=seed)
        model = LogisticRegressionCV(
            Cs=_STRENGTHS, l1_ratios=(0,), scoring="neg_log_loss", max_iter=1000,
            cv=list(inner.split(train, labels[train], subjects[train])),
            use_legacy_attributes=False,
        ).fit(prepare.fit_transform(features[train]), labels[train])
        fitted = model.decision_function(prepare.transform(features[train]))
        # Folds differ in intercept and strength; on their own scale their scores can be pooled.
        spread = fitted.std() or 1.0
        scores[test] = (model.decision_function(prepare.transform(features[test]))
                        - fitted.mean()) / spread
    return scores


def _wins(scores: Floats, labels: Labels) -> Floats:
    """Return (positives, negatives): 1 where the positive scores higher, ½ where they tie."""
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None, :]
    won: Floats = (positive > negative) + 0.5 * (positive == negative)
    return won


def _interval(wins: Floats, labels: Labels, subjects: Labels,
              rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % percentile interval of the AUC over bootstrapped subjects."""
    num = int(subjects.max()) + 1
    draws = rng.multinomial(num, np.full(num, 1 / num), size=_NUM_RESAMPLES)  # (R, subjects)
    weights = draws[:, subjects]                                              # (R, n)
    positive, negative = weights[:, labels == 1], weights[:, labels == 0]     # (R, p), (R, q)
    pairs = positive.sum(1) * negative.sum(1)                                 # (R,)
    won = ((positive @ wins) * negative).sum(1)                               # (R,)
    low, high = np.percentile(won[pairs > 0] / pairs[pairs > 0], (2.5, 97.5))
    return float(low), float(high)
