from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from braing3n.data.findings import RefusedScanError
from braing3n.data.nifti.intensities import (
    check_intensities,
    compare_neighbours,
    scale,
    slope_and_intercept,
)

PATH = Path("a.nii")
SHAPE = (40, 44, 36)


def _picture(seed=0):
    """A smooth random field of positive values inside a ball, 0 outside."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2)
    field = 800 + 300 * field / field.std()
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    return np.where(sum(axis**2 for axis in axes) < 0.9, field, 0).astype(np.float32)


def _regions(number):
    """A map of regions around random centres, numbered, inside the same ball."""
    rng = np.random.default_rng(number)
    centres = [tuple(rng.integers(0, size, number)) for size in SHAPE]
    seeds = np.ones(SHAPE, bool)
    seeds[tuple(centres)] = False
    nearest = ndimage.distance_transform_edt(seeds, return_distances=False, return_indices=True)
    labels = np.zeros(SHAPE, np.float32)
    labels[tuple(centres)] = np.arange(1, number + 1)
    return np.where(_picture() > 0, labels[tuple(nearest)], 0).astype(np.float32)


def _every_other(voxels):
    return np.where(np.indices(SHAPE).sum(axis=0) % 2, voxels, 0)


def _refused_by(voxels):
    with pytest.raises(RefusedScanError) as caught:
        check_intensities(PATH, voxels)
    return caught.value.finding.rule.code


def _header(slope=np.nan, intercept=np.nan, intent=0):
    header = nib.Nifti1Header()
    header["scl_slope"], header["scl_inter"], header["intent_code"] = slope, intercept, intent
    return header


def test_a_picture_and_its_negative_pass():
    check_intensities(PATH, _picture())
    check_intensities(PATH, _picture().max() - _picture())


@pytest.mark.parametrize("number", [25, 90, 300])
def test_regions_of_one_value_are_labels_however_many_there_are(number):
    assert _refused_by(_regions(number)) == "voxels-labels"


def test_a_mask_that_was_resampled_is_no_picture():
    mask = ndimage.zoom((_picture() > 0).astype(np.float32), 0.8, order=1)
    assert _refused_by(mask) == "voxels-labels"


def test_four_classes_that_were_resampled_are_told():
    labels = ndimage.zoom(np.floor(_picture() / 400), 0.8, order=1).astype(np.float32)
    assert [found.rule.code for found in check_intensities(PATH, labels)] == ["voxels-flat"]
    assert check_intensities(PATH, _picture()) == []


def test_noise_and_bright_voxels_without_bright_neighbours_are_told():
    assert _refused_by(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)) == (
        "voxels-noise")
    assert _refused_by(_every_other(_picture())) == "voxels-noise"


def test_neighbours_are_compared_as_a_loop_over_the_slab_would():
    voxels = _picture()
    slab = voxels[:, 20:24, :]
    level, pairs, bright = np.median(slab), [], 0
    for x, y, z in np.ndindex(SHAPE[0] - 1, 4, SHAPE[2]):
        if slab[x, y, z] > level:
            bright += 1
            pairs += [(slab[x, y, z], slab[x + 1, y, z])] if slab[x + 1, y, z] > level else []
    alike = compare_neighbours(voxels)
    assert alike.paired >= len(pairs) / bright
    a, b = np.array(pairs, np.float64).T
    top = np.percentile(a, 99)
    assert alike.correlation >= np.corrcoef(np.minimum(a, top), np.minimum(b, top))[0, 1] - 1e-9


@pytest.mark.parametrize(("slope", "intercept", "expected"), [
    (np.nan, np.nan, (1, 0)), (0, 7, (1, 0)), (2, 3, (2, 3)), (-1, 0, (-1, 0)),
])
def test_a_slope_of_0_or_none_scales_nothing(slope, intercept, expected):
    assert slope_and_intercept(PATH, _header(slope, intercept)) == expected


@pytest.mark.parametrize(("slope", "intercept"), [
    (np.inf, 0), (-np.inf, 0), (1, np.nan), (1, np.inf), (1e-42, 0),
])
def test_a_scale_that_leaves_no_numbers_is_refused(slope, intercept):
    with pytest.raises(RefusedScanError) as caught:
        slope_and_intercept(PATH, _header(slope, intercept))
    assert caught.value.finding.rule.code == "scale-unusable"


@pytest.mark.parametrize(("intent", "codes"), [
    (0, []), (1001, []), (1011, []), (5, ["intent-unexpected"]), (1002, ["intent-unexpected"]),
    (1007, ["intent-unexpected"]),
])
def test_a_header_that_says_the_numbers_are_no_intensities_is_told(intent, codes):
    _, remarks = scale(PATH, _header(intent=intent), np.zeros((2, 2, 2), np.float32))
    assert [found.rule.code for found in remarks] == codes
