import numpy as np

from braing3n.evaluation.site_statistics import EVERYBODY, site_statistics, sum_sites

FOLDS = 2


def test_moments_of_sites_together_are_those_of_their_rows_together():
    rng = np.random.default_rng(0)
    sites = [(rng.normal(size=(num, 3)), np.array(["F", "M"])[rng.integers(0, 2, num)],
              np.arange(num) % FOLDS) for num in (20, 44)]
    summed = sum_sites([site_statistics(*site, np.arange(len(site[0]))) for site in sites], FOLDS)
    rows, classes, folds = (np.concatenate(part) for part in zip(*sites, strict=True))
    for fold in range(FOLDS):
        for name in ("F", "M"):
            chosen = rows[(folds == fold) & (classes == name)]
            np.testing.assert_allclose(summed[fold][name].mean, chosen.mean(axis=0))
            np.testing.assert_allclose(summed[fold][name].scatter,
                                       np.cov(chosen, rowvar=False, bias=True) * len(chosen))


def test_people_are_counted_beside_volumes_and_events():
    cell = site_statistics(np.ones((8, 1)), None, np.zeros(8, dtype=int), np.arange(8) // 2,
                           np.arange(8) < 3)[0, EVERYBODY]
    assert (cell.moments.num, cell.num_subjects, cell.num_events) == (8.0, 4, 3)
