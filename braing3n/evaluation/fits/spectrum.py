"""Eigenvalues of a scatter matrix, fast where it is of few volumes and many features."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpstrf

from braing3n.evaluation.fits.moments import Floats

# Where the rank is below this share of the width, the small decomposition is the faster one.
_THIN = 0.7


@dataclass(frozen=True)
class Spectrum:
    """A symmetric matrix without negative eigenvalues.

    Attributes:
        values: (r,) eigenvalues; those that are not there are 0 but for rounding.
        vectors: (d, r) their eigenvectors.
    """

    values: Floats
    vectors: Floats

    def solve(self, right: Floats, scale: float, shift: float) -> Floats:
        """Return x with (scale · matrix + shift · identity) x = right.

        Args:
            right: (d, k).
            scale: 0 or more.
            shift: Above 0.
        """
        turned = self.vectors.T @ right                                     # (r, k)
        inside = turned / (scale * self.values + shift)[:, None]
        solution: Floats = self.vectors @ (inside - turned / shift) + right / shift
        return solution

    def log_determinant(self, scale: float, shift: float) -> float:
        """Return the log of the determinant of scale · matrix + shift · identity."""
        width, rank = self.vectors.shape
        return float(np.log(scale * self.values + shift).sum() + (width - rank) * np.log(shift))

    def trace_of_solved(self, other: Floats, scale: float, shift: float) -> float:
        """Return the trace of (scale · matrix + shift · identity)⁻¹ other, of (d, d)."""
        inside = np.einsum("dr,dr->r", self.vectors, other @ self.vectors)  # (r,)
        return float((inside / (scale * self.values + shift) - inside / shift).sum()
                     + np.trace(other) / shift)


def spectrum_of(matrix: Floats) -> Spectrum:
    """Return the spectrum of a symmetric (d, d) matrix without negative eigenvalues."""
    # Cholesky with pivots stops at the rank: Higham (2002), Accuracy and Stability, section 10.3.
    packed, pivots, rank, _ = dpstrf(matrix, lower=1)
    if rank >= _THIN * len(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return Spectrum(np.maximum(values, 0), vectors)  # rounding alone makes one negative
    factor = np.zeros((len(matrix), rank))                                  # (d, r)
    factor[pivots - 1] = np.tril(packed[:, :rank])
    basis, corner = np.linalg.qr(factor)                                    # (d, r), (r, r)
    values, turn = np.linalg.eigh(corner @ corner.T)
    return Spectrum(np.maximum(values, 0), basis @ turn)
