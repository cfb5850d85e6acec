import io

import numpy as np
import pytest
from matplotlib.image import imread

from braing3n.conditions import Conditions
from simulation.cohorts.row import CohortRow, CohortRows
from simulation.partition.differences import find_differences
from simulation.partition.figure import draw_differences
from simulation.partition.parts import partition_cohort
from simulation.partition.profiles import Intensities, Profile


def _found(num_sites, *, known=True, profiles=()):
    rows = [CohortRow(f"s{site}-{n}", None, f"Hospital {site:02}",
                      Conditions(20.0 + n + site, "FM"[n % 2], "HC" if n % 3 else "AD", "T1w") if known
                      else Conditions(), None, f"Maker {site}" if known else None)
            for site in range(num_sites) for n in range(4 + site)]
    done = partition_cohort(CohortRows(tuple(rows), ()))
    density = np.full(400, 0.1)
    read = {"T1w": {name: Profile(density, 3, 0.1) for name in profiles}} if profiles else {}
    return find_differences(done, Intensities(read, {}))


def _size(png):
    return imread(io.BytesIO(png)).shape[:2]


@pytest.mark.parametrize("num_sites", [1, 3, 30])
def test_there_is_a_row_for_each_site_and_the_picture_grows_with_them(num_sites):
    height, width = _size(draw_differences(_found(num_sites, profiles=["Hospital 00"])))
    assert 2 < width / 200 < 16    # inches: a page on its side
    assert height / 200 == pytest.approx(0.3 + 0.68 + 0.145 * 8 + (num_sites + 1) * np.interp(
        num_sites + 1, (4, 14), (0.44, 0.26)), abs=1.2)


def test_what_is_known_of_nobody_or_alike_for_all_has_no_column():
    everything = _size(draw_differences(_found(3, profiles=["Hospital 00", "Hospital 01"])))
    nothing = _size(draw_differences(_found(3, known=False)))
    assert nothing[1] < everything[1] / 3  # people alone


def test_the_same_sites_give_the_same_bytes():
    assert draw_differences(_found(2)) == draw_differences(_found(2))
