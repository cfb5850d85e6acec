"""What a linear model says of volumes."""

import numpy as np
from numpy.typing import NDArray

from braing3n.evaluation.fits.linear_fits import LinearModel
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.metrics import Predictions


def predict(model: LinearModel, test: LabelledSet, classes: tuple[str, ...]) -> Predictions:
    """Return what a model says of the test volumes.

    Args:
        model: Of k columns.
        test: The volumes.
        classes: What the columns stand for; of two, the one column is the second. Empty in
            regression and survival.
    """
    scores = model.scores(test.features)                              # (n, k)
    predicted: NDArray[np.generic] = scores[:, 0]
    if classes:
        best = scores.argmax(axis=1) if len(classes) > 2 else (scores[:, 0] > 0).astype(np.intp)
        predicted = np.array(classes)[best]
    return Predictions(scores, predicted, test.values, test.events, test.subjects, test.sites,
                       classes)
