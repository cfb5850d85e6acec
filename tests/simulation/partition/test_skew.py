import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.partition.skew import (
    associate,
    earth_movers,
    histogram_distance,
    jensen_shannon,
    largest_share,
)

COUNTS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 50), min_size=1)


def _divergence(p, q):
    return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a)


def _naive(here, pool):
    names = sorted(here | pool)
    p, q = ([one.get(name, 0) / sum(one.values()) for name in names] for one in (here, pool))
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return math.sqrt(max(0, (_divergence(p, middle) + _divergence(q, middle)) / 2))


@given(COUNTS, COUNTS)
def test_the_jensen_shannon_distance_is_the_root_of_the_mean_divergence_to_the_middle(here, pool):
    assert jensen_shannon(here, pool) == pytest.approx(_naive(here, pool), abs=1e-7)


def test_distributions_that_are_alike_are_0_apart_and_those_without_a_common_class_1():
    assert jensen_shannon({"F": 3, "M": 6}, {"F": 50, "M": 100}) == pytest.approx(0, abs=1e-8)
    assert jensen_shannon({"F": 3}, {"M": 6}) == pytest.approx(1)
    # P = (1, 0), Q = (1/2, 1/2): M = (3/4, 1/4), the divergence is 1.5 - 0.75 log2(3).
    assert jensen_shannon({"F": 3}, {"M": 6, "F": 6}) == pytest.approx(
        math.sqrt(1.5 - 0.75 * math.log2(3)))
    assert jensen_shannon({}, {"M": 6}) is None


def test_ages_that_are_all_moved_by_seven_years_are_seven_years_apart():
    ages = [20.0, 31.0, 35.5, 80.0]
    assert earth_movers(ages, [age + 7 for age in ages]) == pytest.approx(7)
    # Half of the mass moves from 20 to 40.
    assert earth_movers([20.0], [20.0, 40.0]) == pytest.approx(10)
    assert earth_movers([], ages) is None


def test_histograms_of_moved_and_widened_normals_have_the_distance_in_closed_form():
    edges = np.linspace(-5, 5, 401)
    def normal(mean, deviation):
        centres = (edges[1:] + edges[:-1]) / 2
        return np.exp(-((centres - mean) / deviation) ** 2 / 2)

    assert histogram_distance(normal(0, 0.8), normal(0.5, 0.8), edges) == pytest.approx(0.5, abs=1e-3)
    # Of two normals with one mean, the distance is the difference of deviations times sqrt(2 / pi).
    assert histogram_distance(normal(0, 0.5), normal(0, 1), edges) == pytest.approx(
        0.5 * math.sqrt(2 / math.pi), abs=1e-3)
    assert histogram_distance(normal(0, 1), 7 * normal(0, 1), edges) == pytest.approx(0)


def test_mutual_information_is_1_where_the_site_tells_the_label_and_0_where_it_tells_nothing():
    assert associate(list("aabb"), list("xxyy")).nmi == pytest.approx(1)
    assert associate(list("aabb"), list("xyxy")).nmi == pytest.approx(0, abs=1e-12)
    # H(site) = 1, H(label) = h(1/4), I = 1 + h(1/4) - H(joint) with H(joint) = 1.5 bits.
    h = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    found = associate(list("aabb"), list("xxxy"))
    assert found.nmi == pytest.approx((1 + h - 1.5) / ((1 + h) / 2))
    assert found.num_subjects == 4


def test_chance_is_taken_off_where_many_small_sites_seem_to_tell_the_label():
    rng = np.random.default_rng(0)
    sites, labels = [str(n // 3) for n in range(300)], list(rng.choice(["x", "y"], 300))
    found = associate(sites, labels)
    assert found.nmi > 0.08
    assert abs(found.ami) < 0.05


def test_one_site_or_one_label_tells_nothing():
    assert associate(["a", "a"], ["x", "y"]) is None
    assert associate(["a", "b"], ["x", "x"]) is None


def test_the_largest_share_is_of_what_is_known():
    assert largest_share({"HC": 3, "AD": 1}) == 0.75
    assert largest_share({}) is None
