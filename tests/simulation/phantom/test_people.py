"""Who is in the embedded cohort, over more people than are ever written."""

import re

import numpy as np

from simulation.phantom.people import draw_person, draw_site, letters

PEOPLE = [draw_person(draw_site(s, 0, 4.0), k, 0) for s in range(8) for k in range(150)]


def test_names_of_sites_go_on_after_z_and_stay_valid():
    assert [letters(k) for k in (0, 1, 25, 26, 51, 52, 701, 702)] == [
        "a", "b", "z", "aa", "az", "ba", "zz", "aaa"]
    names = [draw_site(k, 0, 4.0).name for k in range(60)]
    assert len(set(names)) == 60
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name) for name in names)


def test_labels_are_unique_over_sites():
    assert len({p.label for p in PEOPLE}) == len(PEOPLE)


def test_voxels_stay_within_15_percent_of_what_was_asked_for():
    edges = np.array([draw_site(k, 3, 4.0).voxel_mm for k in range(50)])
    assert (np.abs(edges / 4 - 1) <= 0.15).all()
    anisotropic = np.ptp(edges, axis=1) > 0
    assert 10 < anisotropic.sum() < 40


def test_neighbouring_sites_store_in_different_ways():
    sites = [draw_site(k, 0, 4.0) for k in range(4)]
    assert len({s.orientation for s in sites}) == len({s.dtype for s in sites}) == 4
    assert len({s.age_range for s in sites}) == len({s.mix for s in sites}) == 4


def test_everybody_is_between_20_and_90_and_comes_once_or_twice():
    ages = [v.age_years for p in PEOPLE for v in p.visits]
    assert min(ages) >= 20
    assert max(ages) <= 89.1
    twice = np.mean([len(p.visits) == 2 for p in PEOPLE])
    assert 0.28 < twice < 0.39


def test_a_subject_has_two_to_three_volumes_and_always_a_t1w():
    visits = [v for p in PEOPLE for v in p.visits]
    assert all(v.contrasts[0] == "T1w" for v in visits)
    assert 2.0 < sum(len(v.contrasts) for v in visits) / len(PEOPLE) < 2.8


def test_a_diagnosis_below_55_is_rare():
    young = [p.diagnosis != "HC" for p in PEOPLE if p.visits[0].age_years < 55]
    old = [p.diagnosis != "HC" for p in PEOPLE if p.visits[0].age_years >= 55]
    assert np.mean(young) < 0.05
    assert np.mean(old) > 0.3


def test_mmse_falls_with_diagnosis_and_never_rises():
    mmse = {d: np.mean([p.visits[0].mmse for p in PEOPLE if p.diagnosis == d])
            for d in ("HC", "MCI", "AD")}
    assert mmse["HC"] > mmse["MCI"] + 2
    assert mmse["MCI"] > mmse["AD"] + 2
    assert all(p.visits[-1].mmse <= p.visits[0].mmse for p in PEOPLE)
    assert all(0 <= v.mmse <= 30 for p in PEOPLE for v in p.visits)


def test_own_spread_of_the_ventricles_is_about_15_percent():
    spread = np.std(np.log([p.ventricle_spread for p in PEOPLE]))
    assert 0.13 < spread < 0.16
