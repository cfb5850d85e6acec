import numpy as np
import pytest

from simulation.compare.harmonise import METHODS, by_combat, by_site_statistics


@pytest.fixture
def shifted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three sites of 60 scans, of which one is shifted and one is twice as wide."""
    rng = np.random.default_rng(0)
    sites = np.repeat(["a", "b", "c"], 60)
    features = rng.normal(size=(180, 12))
    features[sites == "b"] += rng.normal(3, 1, 12)
    features[sites == "c"] *= 2
    return features, sites, np.arange(180) % 5 == 0


@pytest.mark.parametrize("method", METHODS)
def test_training_scans_of_all_sites_have_like_means_and_spreads_afterwards(
    shifted: tuple[np.ndarray, np.ndarray, np.ndarray], method: str
) -> None:
    features, sites, is_test = shifted
    done = METHODS[method](features, sites, is_test)

    def spread_of(values: np.ndarray) -> tuple[float, float]:
        own = [values[(sites == site) & ~is_test] for site in "abc"]
        return (np.ptp([part.mean(axis=0) for part in own], axis=0).max(),
                np.ptp([np.log(part.std(axis=0)) for part in own], axis=0).max())

    before, after = spread_of(features), spread_of(done)
    assert after[0] < 0.1 * before[0]
    assert after[1] < 0.5 * before[1]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_fitted_on_test_scans(
    shifted: tuple[np.ndarray, np.ndarray, np.ndarray], method: str
) -> None:
    features, sites, is_test = shifted
    other = features.copy()
    other[is_test] = 1000 * np.random.default_rng(1).normal(size=(int(is_test.sum()), 12))
    done, again = (METHODS[method](values, sites, is_test) for values in (features, other))
    np.testing.assert_array_equal(done[~is_test], again[~is_test])


def test_site_statistics_are_the_sites_own_z_scores_on_a_common_scale() -> None:
    features = np.array([[0.0], [2.0], [10.0], [30.0], [1.0], [40.0]])
    sites = np.array(["a", "a", "b", "b", "a", "b"])
    is_test = np.array([False, False, False, False, True, True])
    train = features[:4, 0]
    # a: mean 1, deviation 1; b: mean 20, deviation 10.
    z = np.array([-1, 1, -1, 1, 0, 2])
    expected = z * train.std() + train.mean()
    np.testing.assert_allclose(by_site_statistics(features, sites, is_test)[:, 0], expected)


def test_a_column_that_does_not_vary_at_a_site_stays_finite() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 3))
    features[:15, 1] = 0.5
    sites, is_test = np.repeat(["a", "b"], 15), np.zeros(30, dtype=bool)
    assert np.isfinite(by_site_statistics(features, sites, is_test)).all()
    assert np.isfinite(by_combat(features, sites, is_test)).all()
