import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from braing3n.evaluation.fits.moments import (
    merge,
    moments_of,
    pack_symmetric,
    scales_of,
    unpack_symmetric,
)


def test_merged_parts_have_the_moments_of_all_rows_together():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 4)) * [1, 10, 1e-3, 5] + [0, 3, 1, -7]
    parts = [moments_of(part) for part in np.split(rows, [1, 1, 20, 53])]  # one is empty
    together = merge(parts)
    assert together.num == 60
    np.testing.assert_allclose(together.mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(together.scatter, 60 * np.cov(rows.T, bias=True), rtol=1e-11, atol=1e-12)


def test_a_mean_a_million_times_the_deviation_costs_no_digits_that_the_numbers_have():
    rng = np.random.default_rng(1)
    small = rng.integers(-8, 8, size=(500, 3)) / 8  # exact beside 2²⁰ in float64
    together = merge(moments_of(part + 2.0**20) for part in np.array_split(small, 7))
    expected = moments_of(small)
    np.testing.assert_allclose(together.scatter, expected.scatter, rtol=1e-7, atol=1e-7)
    raw = (small + 2.0**20).T @ (small + 2.0**20) - 500 * np.outer(together.mean, together.mean)
    assert np.abs(raw - expected.scatter).max() > 0.001  # what raw sums would have lost


def test_a_weight_counts_rows_so_many_times():
    rows = np.random.default_rng(2).normal(size=(9, 2))
    tripled, weighted = moments_of(np.repeat(rows, 3, axis=0)), moments_of(rows).weighted(3)
    assert weighted.num == tripled.num
    np.testing.assert_allclose(weighted.scatter, tripled.scatter)


def test_scales_are_those_of_scikit_learn_also_for_constant_columns():
    rng = np.random.default_rng(3)
    rows = np.column_stack([rng.normal(size=50), np.full(50, 0.1), 1e8 + rng.normal(size=50),
                            np.zeros(50)])
    expected = StandardScaler().fit(rows).scale_
    np.testing.assert_allclose(scales_of(merge(map(moments_of, np.split(rows, [5, 30])))), expected,
                               rtol=1e-7)


def test_a_symmetric_matrix_survives_its_packing():
    half = np.random.default_rng(4).normal(size=(5, 5))
    matrix = half + half.T
    packed = pack_symmetric(matrix)
    assert packed.shape == (15,)
    np.testing.assert_array_equal(unpack_symmetric(packed), matrix)
    with pytest.raises(ValueError, match="14 numbers"):
        unpack_symmetric(packed[:14])


def test_parts_of_other_columns_cannot_be_merged():
    with pytest.raises(ValueError, match=r"\[2, 3\] columns"):
        merge([moments_of(np.ones((2, 3))), moments_of(np.ones((2, 2)))])
