import math
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from braing3n.data.preprocess import describe, preprocess, preprocessing_digest
from braing3n.data.reading import load_scan
from braing3n.data.scan import Scan
from braing3n.data.tools.chain import Chain
from braing3n.errors import ScanError
from braing3n.presets import PRESETS

NANO = PRESETS["nano"]
FULL = PRESETS["full"]


def _scan(voxels, voxel_mm=4.0, path=Path("a.nii")):
    affine = np.diag([-voxel_mm, -voxel_mm, voxel_mm, 1.0])  # LPS
    return Scan(path, np.ascontiguousarray(voxels, dtype=np.float32), affine, "0" * 64)


def test_a_scan_on_the_target_grid_is_only_centred_and_normalised(brain):
    volume = preprocess(_scan(brain), NANO).astype(np.float64)
    inside = brain[brain > 0].astype(np.float64)
    box = [np.flatnonzero((brain > 0).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    cut = brain[tuple(slice(places[0], places[-1] + 1) for places in box)].astype(np.float64)
    before = [(size - part) // 2 for size, part in zip(NANO.shape, cut.shape, strict=True)]
    expected = np.zeros(NANO.shape)
    expected[tuple(slice(b, b + n) for b, n in zip(before, cut.shape, strict=True))] = np.where(
        cut > 0, (cut - inside.mean()) / inside.std(), 0)
    np.testing.assert_allclose(volume, expected, atol=3e-3)  # float16


def test_the_brain_has_mean_0_and_deviation_1_and_the_background_is_0(brain):
    volume = preprocess(_scan(brain, voxel_mm=3.0), NANO).astype(np.float64)
    assert volume.shape == NANO.shape
    inside = volume[volume != 0]
    assert abs(inside.mean()) < 1e-3
    assert abs(inside.std() - 1) < 1e-3
    volume_of_brain = (brain > 0).sum() * 27 / 64
    assert len(inside) == pytest.approx(volume_of_brain, rel=0.05)


@pytest.mark.parametrize("voxel_mm", [1.0, 3.0, 5.3])
def test_resampling_leaves_no_rim_between_brain_and_background(voxel_mm, brain):
    bright = np.where(brain > 0, 1000.0, 0.0)
    bright[14:16, 16:18, 13:15] = 1010.0  # otherwise there is no contrast to normalise
    volume = preprocess(_scan(bright, voxel_mm=voxel_mm), NANO)
    # A rim mixed with background would lie many deviations below the rest.
    inside = volume[volume != 0].astype(np.float64)
    assert inside.min() > -1.5


def test_a_background_shifted_by_the_intercept_is_still_background(brain):
    shifted = np.where(brain > 0, brain, 0) * 0.5 + 3100
    np.testing.assert_allclose(preprocess(_scan(shifted), NANO), preprocess(_scan(brain), NANO),
                               atol=3e-3)


def test_intensity_scale_does_not_matter(brain):
    np.testing.assert_allclose(preprocess(_scan(brain * 0.013), NANO),
                               preprocess(_scan(brain), NANO), atol=3e-3)


def test_all_48_orientations_give_the_same_voxels(brain, tmp_path):
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, :3] = Rotation.from_euler("xyz", [4, -3, 2], degrees=True).as_matrix()
    affine[:3, 3] = 60, -50, -40
    image = nib.Nifti1Image(brain, affine @ np.diag([-2.9, 3.1, 3.0, 1]))
    start = io_orientation(image.affine)
    reference = None
    for axes in ("LPS", "LSP", "PLS", "PSL", "SLP", "SPL"):
        for flips in range(8):
            pairs = {"L": "LR", "P": "PA", "S": "SI"}
            codes = [pairs[axis][flips >> place & 1] for place, axis in enumerate(axes)]
            stored = image.as_reoriented(ornt_transform(start, axcodes2ornt(codes)))
            nib.save(stored, tmp_path / "a.nii")
            volume = preprocess(load_scan(tmp_path / "a.nii"), NANO)
            reference = volume if reference is None else reference
            np.testing.assert_array_equal(volume, reference)


def test_left_back_and_top_are_where_they_should_be(brain):
    lopsided = brain.astype(np.float32)
    bright = lopsided.copy()
    bright[22:, :, :][bright[22:, :, :] > 0] = 900  # the patient's left, in LPS
    volume = preprocess(_scan(bright), NANO).astype(np.float64)
    assert volume[25:].sum() > 0 > volume[:15].sum()
    bright = lopsided.copy()
    bright[:, :, 20:][bright[:, :, 20:] > 0] = 900  # the top
    volume = preprocess(_scan(bright), NANO).astype(np.float64)
    assert volume[:, :, 25:].sum() > 0 > volume[:, :, :15].sum()


def test_downsampling_smooths_away_what_the_new_grid_cannot_show():
    stripes = np.zeros((90, 90, 90), np.float32)
    stripes[15:75, 15:75, 15:75] = 500
    stripes[15:75:2, 15:75, 15:75] = 700       # every second millimetre: aliases at 4 mm
    stripes[15:75, 15:75, 45:75] += 300        # one true edge
    volume = preprocess(_scan(stripes, voxel_mm=1.0), NANO).astype(np.float64)
    lower = volume[14:26, 18:30, 14:18]
    assert lower.std() < 0.05


def _slow_resample(brain, size_mm, voxel_mm):
    """Return the brain's mean intensities on another grid, NaN outside, in the plainest way."""
    factor = voxel_mm / size_mm
    margin = math.ceil(factor)
    values = np.pad(brain.astype(np.float64), margin)
    inside = (values != 0).astype(np.float64)
    if factor > 1.5:
        sigma = math.sqrt(factor**2 - 1) / math.sqrt(8 * math.log(2))
        values, inside = (gaussian_filter(array, sigma, mode="constant")
                          for array in (values, inside))
    places = np.meshgrid(*(np.arange(round((num - 1) / factor + 1)) * factor
                           for num in values.shape), indexing="ij")
    values, inside = (map_coordinates(array, places, order=1, mode="grid-constant")
                      for array in (values, inside))
    return np.where(inside >= 0.5, values / np.maximum(inside, 0.5), np.nan)


@pytest.mark.parametrize("voxel_mm", [1.3, 2.0, 3.0, 4.0, 5.5])
def test_resampling_agrees_with_a_plain_filter_and_interpolation(voxel_mm, brain):
    box = [np.flatnonzero((brain != 0).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    cut = brain[tuple(slice(places[0], places[-1] + 1) for places in box)]
    slow = _slow_resample(cut, voxel_mm, 4.0)
    known = slow[~np.isnan(slow)]
    volume = preprocess(_scan(brain, voxel_mm), NANO)
    found = volume[volume != 0].astype(np.float64)
    # The same voxels in the same order, wherever the brain lies in its box.
    np.testing.assert_allclose(found, (known - known.mean()) / known.std(), atol=3e-3)


def test_the_number_of_threads_changes_no_bit(brain):
    scan = _scan(np.kron(brain, np.ones((2, 2, 2))), voxel_mm=2.1)
    threads = torch.get_num_threads()
    try:
        volumes = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            volumes.append(preprocess(scan, FULL))
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(volume, volumes[0]) for volume in volumes[1:])


def test_a_fine_scan_needs_little_memory_beyond_its_own(brain):
    voxels = np.kron(brain, np.ones((4, 4, 4), np.int16)).astype(np.float32)  # 1 mm, 52 MB
    scan = _scan(voxels, voxel_mm=1.0)
    preprocess(scan, NANO)  # imports
    tracemalloc.start()
    try:
        preprocess(scan, NANO)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * voxels.nbytes


def test_what_is_not_stripped_is_refused_unless_the_site_takes_it(brain):
    noise = np.random.default_rng(0).uniform(1, 20, brain.shape)
    scan = _scan(np.where(brain > 0, brain, noise))
    with pytest.raises(ScanError, match="skull-stripped"):
        preprocess(scan, NANO)
    whole = preprocess(scan, NANO, Chain(is_checked=False))
    assert np.count_nonzero(whole) > 0.95 * brain.size


def test_a_mask_has_no_contrast_and_is_refused(brain):
    with pytest.raises(ScanError, match="no brain"):
        preprocess(_scan(brain > 0), NANO)


def test_the_digest_tells_presets_and_chains_apart():
    assert describe(NANO)["shape"] == [40, 48, 40]
    digests = {preprocessing_digest(preset) for preset in PRESETS.values()}
    assert len(digests) == 2  # full, base and small see the same volumes
    assert preprocessing_digest(NANO, Chain(is_checked=False)) not in digests
    assert preprocessing_digest(NANO, Chain()) in digests


def test_one_real_brain_stored_12_ways_gives_identical_voxels(test_data):
    files = sorted((test_data / "nifti/orientations").glob("*.nii.gz"))
    assert len(files) == 12
    volumes = [preprocess(load_scan(path), NANO) for path in files]
    for volume in volumes[1:]:
        np.testing.assert_array_equal(volume, volumes[0])
