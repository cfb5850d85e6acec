"""Grey values of sites as histograms: what comparing them finds, and tables and pictures show."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Preprocessing clips z-scores to ±5. Four bins to a tenth: what a bin rounds away is below 0.02.
EDGES = np.linspace(-5, 5, 401)


@dataclass(frozen=True)
class Profile:
    """The grey values of a site's scans of one modality.

    Attributes:
        density: (400,) mean over scans of each one's histogram of z-scores inside the brain, over
            `EDGES`; it integrates to 1.
        num_scans: How many were read.
        distance: The Wasserstein-1 distance to the same of all other sites' scans, in standard
            deviations of a brain's grey values; None where no other site has such scans.
    """

    density: NDArray[np.float64]
    num_scans: int
    distance: float | None


@dataclass(frozen=True)
class Intensities:
    """What was found of all sites.

    Attributes:
        profiles: By modality and site; a site without usable scans of a modality is not there.
        refused: By site, how many scans could not be used, and why not the first.
    """

    profiles: Mapping[str, Mapping[str, Profile]]
    refused: Mapping[str, tuple[int, str]]
