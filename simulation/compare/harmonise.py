"""Taking differences between sites out of embeddings, by what training subjects show of them.

Neither method is told a label: one that kept age or diagnosis apart would have to know them of the
very subjects that a probe is tested on. Where sites see different patients, part of what they take
out is biology.
"""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Harmonise = Callable[[Floats, NDArray[np.str_], NDArray[np.bool_]], Floats]

# A column that does not vary at a site is only shifted.
_LEAST_DEVIATION = 1e-8


def by_site_statistics(features: Floats, sites: NDArray[np.str_], is_test: NDArray[np.bool_]) -> Floats:
    """Return features z-scored by their own site's training scans.

    Args:
        features: (n, d) embeddings.
        sites: (n,) names.
        is_test: (n,) what nothing may be fitted on.

    Returns:
        (n, d), on the scale of all training scans together, so that strengths keep their meaning.
    """
    train = ~is_test
    done = np.empty(features.shape, dtype=np.float64)
    for site in np.unique(sites):
        here = sites == site
        own = features[here & train].astype(np.float64)
        deviation = own.std(axis=0)
        done[here] = (features[here] - own.mean(axis=0)) / np.where(
            deviation > _LEAST_DEVIATION, deviation, 1.0)
    everybody = features[train].astype(np.float64)
    on_scale: Floats = done * everybody.std(axis=0) + everybody.mean(axis=0)
    return on_scale


def by_combat(features: Floats, sites: NDArray[np.str_], is_test: NDArray[np.bool_]) -> Floats:
    """Return features after ComBat: site means and variances, shrunk towards those of all columns.

    Johnson, Li, Rabinovic (2007), https://doi.org/10.1093/biostatistics/kxj037, by the package
    combatlearn, fitted on training scans alone.

    Args:
        features: (n, d) embeddings.
        sites: (n,) names; each has two training scans or more.
        is_test: (n,) what nothing may be fitted on.

    Returns:
        (n, d).
    """
    from combatlearn import ComBat  # noqa: PLC0415  # takes seconds, with umap and numba behind it

    table = pd.DataFrame(features.astype(np.float64))
    model = ComBat(batch=pd.Series(sites.astype(object)), method="johnson").fit(table[~is_test])
    done: Floats = np.empty(features.shape, dtype=np.float64)
    done[~is_test] = model.transform(table[~is_test]).to_numpy()
    if is_test.any():
        done[is_test] = model.transform(table[is_test]).to_numpy()
    return done


METHODS: MappingProxyType[str, Harmonise] = MappingProxyType({
    "site statistics": by_site_statistics, "ComBat": by_combat,
})
