"""What age, sex and disease do to a phantom brain, against closed forms."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from simulation.phantom.anatomy import (
    Anatomy,
    build_anatomies,
    expected_ventricle_ml,
    medial_temporal_shrinkage,
    sample,
)
from simulation.phantom.people import Person, Visit, draw_person, draw_site
from simulation.phantom.scanner import scan
from simulation.phantom.template import WORKING_MM, along_axes, average_matrix, load_template

SITE = replace(draw_site(0, 0, 4.0), noise=0.0, bias=((0.0, 0.0),) * 3, dtype="float32", gain=1.0)


def person(*ages: float, mmse: int = 30, **changes: object) -> Person:
    visits = tuple(Visit(k, age, mmse, ("T1w",)) for k, age in enumerate(ages, start=1))
    average_person = replace(draw_person(SITE, 1, 0), sex="F", diagnosis="HC", head_scale=0.945,
                             ventricle_spread=1.0, thinning_spread=1.0, visits=visits)
    return replace(average_person, **changes)


def brain(age: float, **changes: object) -> Anatomy:
    return build_anatomies(person(age, **changes))[0]


def test_ventricles_grow_from_15_ml_at_20_to_55_ml_at_90():
    assert expected_ventricle_ml(person(20.0), person(20.0).visits[0]) == pytest.approx(15)
    assert expected_ventricle_ml(person(90.0), person(90.0).visits[0]) == pytest.approx(55)
    old_age = person(20.0, 45.0, 70.0, 90.0)
    expected = [expected_ventricle_ml(old_age, v) for v in old_age.visits]
    found = [a.ventricle_ml for a in build_anatomies(old_age)]
    # The deformation, which the table of volumes knows nothing of, adds its own few percent.
    assert found == pytest.approx(expected, rel=0.15)
    assert found == sorted(found)


def test_age_thins_the_cortex_and_spares_the_head():
    young, old = build_anatomies(person(20.0, 90.0))
    assert 0.65 < old.grey_ml / young.grey_ml < 0.9
    assert old.brain_ml == pytest.approx(young.brain_ml, rel=0.02)


def test_a_man_s_head_is_larger_by_4_percent_along_each_edge():
    ratio = brain(50.0, head_scale=0.945 * 1.04).brain_ml / brain(50.0).brain_ml
    assert ratio == pytest.approx(1.04**3, rel=0.01)


def test_disease_takes_grey_matter_where_memory_sits_and_mci_half_of_it():
    healthy, mild, full = (brain(70.0, diagnosis=d) for d in ("HC", "MCI", "AD"))
    lost = healthy.grey_ml - full.grey_ml
    assert lost > 3
    assert healthy.grey_ml - mild.grey_ml == pytest.approx(lost / 2, rel=0.3)
    zone = load_template().medial_temporal > 0.7
    change = full.csf - healthy.csf
    assert change[zone].mean() > 5 * abs(change[~zone].mean())


def test_severity_shrinks_continuously():
    shrinkage = [medial_temporal_shrinkage(person(70.0), Visit(1, 70.0, mmse, ("T1w",)))
                 for mmse in range(30, -1, -1)]
    assert (np.diff(shrinkage) > 0).all()
    assert brain(70.0, mmse=12).grey_ml < brain(70.0, mmse=24).grey_ml


def test_a_second_visit_is_the_same_brain_grown_older():
    first, second = build_anatomies(person(60.0, 65.0))
    other = brain(60.0, shape_seed=(1, 2, 3))
    here = np.corrcoef(first.white.ravel(), second.white.ravel())[0, 1]
    assert here > 0.98
    assert here > np.corrcoef(first.white.ravel(), other.white.ravel())[0, 1] + 0.02
    assert second.ventricle_ml > first.ventricle_ml


def test_fractions_stay_fractions_and_ventricles_are_csf():
    old = brain(85.0, diagnosis="AD", mmse=10)
    total = old.grey + old.white + old.csf
    for part in (old.grey, old.white, old.csf, old.ventricle):
        assert part.min() >= 0
        assert part.max() <= 1 + 1e-5
    assert total.max() <= 1 + 1e-4
    assert (old.ventricle <= old.csf + 1e-3).all()


def test_sampling_agrees_with_scipy():
    rng = np.random.default_rng(0)
    maps = rng.random((2, 5, 6, 7), dtype=np.float32)
    places = (rng.random((3, 200)) * np.array([[4.0], [5.0], [6.0]])).astype(np.float32)
    expected = [map_coordinates(m, places, order=1) for m in maps]
    np.testing.assert_allclose(sample(maps, places), expected, atol=1e-6)


def test_sampling_beyond_the_grid_takes_the_border():
    maps = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    places = np.array([[-5.0, 9.0], [-5.0, 9.0], [-5.0, 9.0]], dtype=np.float32)
    assert sample(maps, places).tolist() == [[0.0, 7.0]]


@pytest.mark.parametrize(("num_in", "in_mm", "num_out", "out_mm"), [
    (12, 1.0, 3, 4.0), (10, 2.5, 7, 4.3), (4, 3.0, 12, 1.0), (5, 2.0, 5, 2.0),
])
def test_averaging_agrees_with_a_fine_sum_and_keeps_the_total(num_in, in_mm, num_out, out_mm):
    line = np.random.default_rng(1).random(num_in)
    places = (np.arange(-400_000, 400_000) + 0.5) * 1e-4
    index_in = np.floor(places / in_mm + num_in / 2).astype(int)
    covered = (index_in >= 0) & (index_in < num_in)
    values = np.where(covered, line[np.clip(index_in, 0, num_in - 1)], 0)
    index_out = np.floor(places / out_mm + num_out / 2).astype(int)
    inside = (index_out >= 0) & (index_out < num_out)
    sums = np.bincount(index_out[inside], values[inside], num_out) * 1e-4 / out_mm
    found = average_matrix(num_in, in_mm, num_out, out_mm) @ line
    np.testing.assert_allclose(found, sums, atol=1e-3)


def test_matrices_act_on_their_own_axes():
    rng = np.random.default_rng(2)
    volume = rng.random((3, 4, 5), dtype=np.float32)
    x, y, z = (rng.random((n + 2, n), dtype=np.float32) for n in volume.shape)
    expected = np.einsum("ijk,xi,yj,zk->xyz", volume, x, y, z)
    np.testing.assert_allclose(along_axes(volume, (x, y, z)), expected, rtol=1e-5)


def test_a_brain_has_the_same_size_on_every_grid():
    anatomy = brain(40.0)
    for voxel_mm in ((2.0, 2.0, 2.0), (4.6, 3.4, 4.0)):
        image = scan(anatomy, "T1w", replace(SITE, voxel_mm=voxel_mm), np.random.default_rng(0))
        found_ml = (np.asarray(image.dataobj) > 0).sum() * np.prod(voxel_mm) / 1000
        assert found_ml == pytest.approx(anatomy.brain_ml, rel=0.03)


@pytest.mark.parametrize("orientation", ["LAS", "PSR", "LIA", "ASR", "RPI"])
def test_orientation_changes_how_a_brain_is_stored_not_where_it_is(orientation):
    anatomy = brain(40.0)
    stored = [scan(anatomy, "T1w", replace(SITE, voxel_mm=(3.5, 4.0, 4.5), orientation=code),
                   np.random.default_rng(0)) for code in ("RAS", orientation)]
    plain, turned = (nib.as_closest_canonical(image) for image in stored)
    np.testing.assert_array_equal(plain.get_fdata(), turned.get_fdata())
    np.testing.assert_allclose(plain.affine, turned.affine, atol=1e-6)
    assert nib.aff2axcodes(stored[1].affine) == tuple(orientation)


@pytest.mark.parametrize(("contrast", "order"), [
    ("T1w", ("csf", "grey", "white")),
    ("T2w", ("white", "grey", "csf")),
    ("FLAIR", ("csf", "white", "grey")),
])
def test_tissues_are_as_bright_as_the_contrast_says(contrast, order):
    anatomy = brain(60.0)
    site = replace(SITE, voxel_mm=(WORKING_MM,) * 3, orientation="RAS")
    volume = np.asarray(scan(anatomy, contrast, site, np.random.default_rng(0)).dataobj)
    # The working grid itself, so that voxels of one tissue can be picked.
    levels = {name: volume[getattr(anatomy, name) > 0.95].mean() for name in order}
    assert sorted(levels, key=levels.__getitem__) == list(order)


def test_contrast_agent_brightens_vessels_and_nothing_else():
    anatomy = brain(60.0)
    site = replace(SITE, voxel_mm=(WORKING_MM,) * 3, orientation="RAS")
    plain, bright = (np.asarray(scan(anatomy, c, site, np.random.default_rng(0)).dataobj)
                     for c in ("T1w", "T1c"))
    assert (bright - plain)[anatomy.vessels > 0.4].mean() > 0.4
    np.testing.assert_allclose(bright[anatomy.white > 0.99], plain[anatomy.white > 0.99], atol=0.02)
