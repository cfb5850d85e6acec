import json

import numpy as np
import pytest

from braing3n.errors import CohortError, ProtocolError
from braing3n.evaluation.linear_fits import choose_class_ridge
from braing3n.evaluation.site_statistics import (
    from_message,
    site_statistics,
    sum_sites,
    to_message,
)

FOLDS = 2


def _site(num: int, seed: int) -> dict:
    """One volume a person; both classes in both folds."""
    rng = np.random.default_rng(seed)
    classes = np.array(["F", "M"])[np.arange(num) % 2]
    features = rng.normal(size=(num, 4)) + (classes == "M")[:, None]
    return site_statistics(features, classes, np.arange(num) // 2 % FOLDS, np.arange(num))


def test_a_fit_from_messages_is_the_fit_from_the_statistics_bit_for_bit():
    sites = [_site(num, seed) for seed, num in enumerate((20, 44, 32))]
    carried = []
    for site in sites:
        header, arrays = to_message(site)
        assert all(array.dtype == np.float64 and array.ndim == 1 for array in arrays.values())
        carried.append(from_message(header, {name: array.copy() for name, array in arrays.items()}))
    ours, theirs = (choose_class_ridge(sum_sites(found, FOLDS), ("F", "M"))
                    for found in (sites, carried))
    np.testing.assert_array_equal(ours.model.weights, theirs.model.weights)
    assert ours.strength == theirs.strength


def test_sums_over_so_few_people_that_they_show_single_ones_do_not_leave():
    to_message(_site(20, 0))
    with pytest.raises(CohortError, match="4 of 4 sums over fewer, down to 4"):
        to_message(_site(16, 0))


def test_people_are_counted_not_volumes():
    twice = site_statistics(np.ones((8, 1)), None, np.zeros(8, dtype=int), np.arange(8) // 2)
    with pytest.raises(CohortError, match="down to 4"):
        to_message(twice)


@pytest.mark.parametrize("change", [
    lambda header, arrays: (header.replace('"version": 1', '"version": 2'), arrays),
    lambda header, arrays: ("not JSON", arrays),
    lambda header, arrays: ("[]", arrays),
    lambda header, arrays: (json.dumps({"version": 1, "cells": [{}]}), arrays),
    lambda header, arrays: (header, {**arrays, "0.mean": np.ones(3)}),
    lambda header, arrays: (header, {**arrays, "0.scatter": np.ones(9)}),
    lambda header, arrays: (header, {**arrays, "0.mean": np.full(4, np.nan)}),
    lambda header, arrays: (header, {name: arrays[name] for name in list(arrays)[1:]}),
])
def test_a_message_that_is_none_is_refused(change):
    header, arrays = to_message(_site(20, 0))
    with pytest.raises(ProtocolError, match="cannot be read"):
        from_message(*change(header, arrays))
