import numpy as np
import pytest

from braing3n.evaluation.fits.spectrum import spectrum_of


@pytest.mark.parametrize("rows", [0, 1, 12, 40, 90], ids=lambda rows: f"{rows} rows")
def test_what_is_solved_is_what_the_whole_matrix_gives(rows: int):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, 40)) * np.logspace(0, -5, 40)
    matrix = features.T @ features
    spectrum = spectrum_of(matrix)
    right, other = rng.normal(size=(40, 3)), np.cov(rng.normal(size=(40, 60)))
    shifted = 0.7 * matrix + 0.05 * np.eye(40)
    np.testing.assert_allclose(spectrum.solve(right, 0.7, 0.05), np.linalg.solve(shifted, right),
                               rtol=1e-9, atol=1e-11)
    assert spectrum.log_determinant(0.7, 0.05) == pytest.approx(np.linalg.slogdet(shifted)[1])
    assert spectrum.trace_of_solved(other, 0.7, 0.05) == pytest.approx(
        np.trace(np.linalg.solve(shifted, other)))


def test_a_matrix_of_few_rows_has_few_eigenvectors():
    features = np.random.default_rng(1).normal(size=(12, 40))
    assert spectrum_of(features.T @ features).vectors.shape == (40, 12)
