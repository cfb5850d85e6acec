"""How far a site's people and scans differ from others': published measures, each by its formula."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Association:
    """How much of a label the site tells, over all subjects whose label is known.

    Attributes:
        nmi: Normalised mutual information, 0 (nothing) to 1 (all): the mutual information over the
            mean of both entropies (Strehl and Ghosh 2002, https://www.jmlr.org/papers/v3/strehl02a.html,
            with the arithmetic mean). Many small sites raise it by chance.
        ami: The same less what chance gives, 0 on average where label and site have nothing to do
            with each other (Vinh, Epps and Bailey 2010, https://www.jmlr.org/papers/v11/vinh10a.html).
        num_subjects: Over how many.
    """

    nmi: float
    ami: float
    num_subjects: int


def associate(sites: Sequence[str], labels: Sequence[str]) -> Association | None:
    """Return how much of the labels the sites tell; None where there is one site or one label alone.

    Args:
        sites: (n,) of each subject.
        labels: (n,) of the same subjects.
    """
    if len(set(sites)) < 2 or len(set(labels)) < 2:
        return None
    return Association(float(normalized_mutual_info_score(sites, labels)),
                       float(adjusted_mutual_info_score(sites, labels)), len(labels))


def jensen_shannon(here: Counts, pool: Counts) -> float | None:
    """Return the Jensen-Shannon distance of two distributions: 0 (the same) to 1 (nothing in common).

    The square root of the divergence with logarithms to base 2, which is a metric (Lin 1991,
    https://doi.org/10.1109/18.61115; Endres and Schindelin 2003, https://doi.org/10.1109/TIT.2003.813506).

    Args:
        here: How many of each class.
        pool: The same of the others, or of all.

    Returns:
        The distance; None where one of both has nothing in it.
    """
    names = sorted(here.keys() | pool.keys())
    counts = [[one.get(name, 0) for name in names] for one in (here, pool)]
    if not all(map(sum, counts)):
        return None
    distance = float(jensenshannon(*counts, base=2))
    return 0.0 if np.isnan(distance) else distance  # a divergence of 0 may be rounded below it


def earth_movers(here: Sequence[float], pool: Sequence[float]) -> float | None:
    """Return the earth mover's (Wasserstein-1) distance of two samples, in their own unit.

    The area between both cumulative distributions (Rubner, Tomasi and Guibas 2000,
    https://doi.org/10.1023/A:1026543900054). None where one of both is empty.
    """
    return float(wasserstein_distance(here, pool)) if here and pool else None


def histogram_distance(here: NDArray[np.float64], others: NDArray[np.float64],
                       edges: NDArray[np.float64]) -> float:
    """Return the Wasserstein-1 distance of two histograms over the same bins, in the bins' unit.

    Args:
        here: (b,) counts or shares, not all 0.
        others: (b,) the same.
        edges: (b + 1,) of the bins.
    """
    centres = (edges[1:] + edges[:-1]) / 2
    return float(wasserstein_distance(centres, centres, here, others))


def largest_share(counts: Counts) -> float | None:
    """Return the share of the largest class, or None where nothing is counted."""
    total = sum(counts.values())
    return max(counts.values()) / total if total else None
