import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from braing3n.conditions import Conditions
from simulation.cohorts.row import CohortRow, CohortRows
from simulation.partition.differences import find_differences
from simulation.partition.groups import age_summary
from simulation.partition.parts import partition_cohort
from simulation.partition.profiles import EDGES, Intensities, Profile
from simulation.partition.table import (
    abbreviations,
    differences_tsv,
    people_rows,
    sentences,
    shift_rows,
)


def _row(subject, site, age=None, sex=None, diagnosis=None, modality=None, scanner=None):
    return CohortRow(subject, None, site, Conditions(age, sex, diagnosis, modality), None, scanner)


@pytest.fixture
def done():
    """At a two women of 20 and 40 with two scans each; at b a man of 60, and one of no known age."""
    return partition_cohort(CohortRows((
        _row("s1", "a", 20.0, "F", "HC", "T1w", "Siemens Trio"),
        _row("s1", "a", 22.0, "F", "HC", "T2w"),
        _row("s2", "a", 40.0, "F", "AD", "T1w", "Siemens Trio"),
        _row("s2", "a", 41.0, "F", "AD", "T1w"),
        _row("s3", "b", 60.0, "M", "AD", "T1w", "GE MR750"), _row("s4", "b", None, None, "AD", "T1w"),
    ), ()))


def test_people_are_counted_once_and_scans_as_often_as_they_are_there(done):
    a, b = find_differences(done).groups
    assert (a.num_subjects, a.num_volumes, a.ages) == (2, 4, (20.0, 40.0))
    assert a.counts["sex"] == {"F": 2}
    assert a.counts["modality"] == {"T1w": 3, "T2w": 1}
    assert a.counts["scanner"] == {"Siemens Trio": 2}
    assert (a.num_unknown("scanner"), b.num_unknown("sex"), b.num_unknown("age_band")) == (2, 1, 1)
    assert age_summary(a) == {"mean_years": 30.0, "sd_years": pytest.approx(200 ** 0.5),
                              "min_years": 20.0, "max_years": 40.0, "missing_share": 0.0}
    assert age_summary(b)["missing_share"] == 0.5
    assert age_summary(b)["sd_years"] is None


def test_shifts_are_to_all_sites_together_over_those_whose_label_is_known(done):
    found = find_differences(done)
    # Sex: a is (F 1), all are (F 2/3, M 1/3): M = (5/6, 1/6).
    p, q, m = np.array([1, 1e-300]), np.array([2 / 3, 1 / 3]), np.array([5 / 6, 1 / 6])
    expected = ((p * np.log2(p / m)).sum() + (q * np.log2(q / m)).sum()) / 2
    assert found.shifts["a"].jensen_shannon["sex"] == pytest.approx(expected ** 0.5)
    # Ages 20, 40 against 20, 40, 60: a sixth of the mass moves 40 years, a sixth 20.
    assert found.shifts["a"].age_years == pytest.approx((40 + 20) / 6)
    assert found.shifts["a"].largest_share == {"diagnosis": 0.5, "sex": 1.0, "age_band": 0.5}
    assert found.associations["sex"].nmi == pytest.approx(1)
    assert found.associations["sex"].num_subjects == 3


def test_the_table_has_a_row_a_site_and_one_of_all_with_one_unit_a_column(done):
    found = find_differences(done, Intensities({"T1w": {"a": Profile(np.ones(400), 2, 0.25)}}, {}))
    rows = list(csv.DictReader(io.StringIO(differences_tsv(found)), delimiter="\t"))
    assert [row["site"] for row in rows] == ["a", "b", "all sites"]
    assert rows[0]["num_subjects"] == "2"
    assert rows[0]["age_mean_years"] == "30.0000"
    assert rows[1]["age_missing_share"] == "0.5000"
    assert rows[1]["sex_unknown"] == "1"
    assert rows[2]["diagnosis_AD"] == "3"
    assert rows[0]["intensity_wasserstein_T1w"] == "0.2500"
    assert rows[1]["intensity_wasserstein_T1w"] == "n/a"
    assert rows[2]["largest_share_diagnosis"] == "0.7500"
    assert None not in rows[0].values()


def test_what_is_known_of_nobody_is_said_and_has_no_column(done):
    found = find_differences(done)
    assert "field strength" not in people_rows(found)[0]
    assert "not known of anybody: field strength" in sentences(found)
    assert shift_rows(found)[1][1][-1] == "20.0"  # a third of the mass moves 40 years, a third 20
    assert any(row[-1] == "n/a" for row in shift_rows(find_differences(
        done, Intensities({"T1w": {"a": Profile(np.ones(400), 2, None)}}, {})))[1])


def test_a_site_that_everybody_has_left_has_zeros_and_nothing_known():
    rows = tuple(_row("s", site, 20.0) for site in "aab")
    done = partition_cohort(CohortRows(rows, ()))
    found = find_differences(done)
    assert [(group.name, group.num_subjects) for group in found.groups] == [("a", 1), ("b", 0)]
    assert found.shifts["b"].age_years is None
    assert age_summary(found.groups[1])["missing_share"] is None


def test_everything_can_be_written_as_json_without_nan(done):
    intensities = Intensities({"T1w": {"a": Profile(np.ones(len(EDGES) - 1), 3, 0.1)}},
                              {"b": (2, "no brain")})
    plain = find_differences(done, intensities).as_dict()
    json.dumps(plain, allow_nan=False)
    assert plain["sites"][0]["intensity"] == {"T1w": {"num_scans": 3, "wasserstein": 0.1}}
    assert plain["sites"][1]["intensity"] == {"num_refused": 2, "refused_because": "no brain"}
    assert plain["sites"][1]["sex"] == {"M": 1, "unknown": 1}
    assert str(Path.home()) not in json.dumps(plain)


def test_every_abbreviation_of_the_table_of_distances_is_told(done):
    profile = Profile(np.full(400, 0.1), 1, 0.1)
    for intensities, short in ((None, {"JSD", "EMD"}),
                               (Intensities({"T1w": {"a": profile}}, {}), {"JSD", "EMD", "W1"})):
        found = find_differences(done, intensities)
        header = " ".join(shift_rows(found)[0])
        assert {one for one in ("JSD", "EMD", "W1") if one in header} == short
        assert {one for one in ("JSD", "EMD", "W1") if f"{one}: " in abbreviations(found)} == short
