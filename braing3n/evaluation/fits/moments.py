"""Counts, means and scatter matrices: all that a linear probe has to know of a site's features.

They are sums over volumes, so those of several sites and folds together are exactly those of all
their volumes together. Each is centred about its own mean, and merged as by Chan, Golub and LeVeque
(1983), https://doi.org/10.1080/00031305.1983.10483115: sums of raw products would lose
the digits that features with a large mean differ in.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """What is known of some rows of c columns.

    Attributes:
        num: Number of rows, or the sum of their weights.
        mean: (c,).
        scatter: (c, c) sum of (x - mean)(x - mean)ᵀ.
    """

    num: float
    mean: Floats
    scatter: Floats

    def weighted(self, weight: float) -> "Moments":
        """Return the moments of the same rows, each counted `weight` times."""
        return Moments(self.num * weight, self.mean, self.scatter * weight)

    def with_constant(self, values: Floats) -> "Moments":
        """Return the moments of the rows with further columns that are the same in each.

        Args:
            values: (k,).
        """
        width = len(self.mean)
        scatter = np.zeros((width + len(values),) * 2)
        scatter[:width, :width] = self.scatter
        return Moments(self.num, np.concatenate([self.mean, values]), scatter)


def moments_of(rows: Floats) -> Moments:
    """Return the moments of (n, c) rows in float64; n may be 0."""
    rows = np.asarray(rows, dtype=np.float64)                    # (n, c)
    if not len(rows):
        return Moments(0.0, np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2))
    mean = rows.mean(axis=0)                                     # (c,)
    centred = rows - mean                                        # (n, c)
    # The mean itself is rounded: what is left of it is taken out of both.
    rest = centred.mean(axis=0)                                  # (c,)
    centred = centred - rest                                     # (n, c)
    return Moments(float(len(rows)), mean + rest, centred.T @ centred)


def merge(parts: Iterable[Moments]) -> Moments:
    """Return the moments of all parts' rows together.

    Raises:
        ValueError: There is no part, or they differ in their columns.
    """
    known = list(parts)
    if not known or len({len(part.mean) for part in known}) != 1:
        raise ValueError(f"{len(known)} parts with {sorted({len(p.mean) for p in known})} columns "
                         "cannot be merged")
    filled = [part for part in known if part.num > 0]
    if len(filled) < 2:
        return filled[0] if filled else known[0]
    nums = np.array([part.num for part in filled])               # (p,)
    # From the first mean on, so that a large one that all share costs no digits.
    steps = np.stack([part.mean - filled[0].mean for part in filled])       # (p, c)
    shift = nums @ steps / nums.sum()                            # (c,)
    apart = steps - shift                                        # (p, c)
    scatter = apart.T @ (apart * nums[:, None])                  # (c, c)
    for part in filled:
        scatter += part.scatter
    return Moments(float(nums.sum()), filled[0].mean + shift, scatter)


def scales_of(features: Moments) -> Floats:
    """Return (c,) standard deviations to divide by, as scikit-learn's StandardScaler has them.

    A column that is constant but for rounding gets 1, by the same bound as there.
    """
    variance = np.diag(features.scatter) / features.num          # (c,)
    tiny = features.num * np.finfo(np.float64).eps
    constant = variance <= tiny * variance + (tiny * features.mean) ** 2
    scales: Floats = np.where(constant, 1.0, np.sqrt(variance))
    return scales


def pack_symmetric(matrix: Floats) -> Floats:
    """Return (c (c + 1) / 2,) the upper triangle of a symmetric (c, c) matrix, row by row."""
    packed: Floats = matrix[np.triu_indices(len(matrix))]
    return packed


def unpack_symmetric(packed: Floats) -> Floats:
    """Return the (c, c) matrix whose upper triangle `pack_symmetric` gave.

    Raises:
        ValueError: No square matrix has so many numbers in its upper triangle.
    """
    size = (math.isqrt(8 * len(packed) + 1) - 1) // 2
    if size * (size + 1) // 2 != len(packed):
        raise ValueError(f"{len(packed)} numbers are no upper triangle")
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = packed
    return matrix + np.triu(matrix, 1).T
