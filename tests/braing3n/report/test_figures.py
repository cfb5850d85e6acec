import io

import numpy as np
import pytest
from matplotlib.image import imread

from braing3n.report.figures import (
    _inside,
    brain_slices,
    generated_grid,
    site_styles,
    slice_number,
    take_slice,
)
from braing3n.report.picture_files import Generated


def test_axial_slices_have_the_nose_up_and_the_patients_right_on_the_left():
    volume = np.zeros((4, 5, 6))
    volume[0, 0, 2] = 1  # LPS: the most right and most anterior voxel of slice 2
    assert np.argwhere(take_slice(volume, "axial", 2)).tolist() == [[0, 0]]


def test_coronal_slices_have_the_crown_up_and_the_patients_right_on_the_left():
    volume = np.zeros((4, 5, 6))
    volume[0, 3, 5] = 1  # LPS: the most right and highest voxel of slice 3
    assert np.argwhere(take_slice(volume, "coronal", 3)).tolist() == [[0, 0]]


def test_the_axial_slice_follows_the_brain_and_not_the_box():
    volume = np.zeros((20, 20, 40))
    volume[5:15, 5:15, 10:31] = 1
    assert slice_number(volume, "axial") == round(10 + 0.58 * 20)
    assert slice_number(np.zeros((20, 20, 40)), "axial") == 20


def test_35_sites_all_look_different_and_keep_their_look():
    styles = site_styles([f"site-{i}" for i in range(35)])
    assert len({(s.colour, s.marker) for s in styles.values()}) == 35
    assert site_styles(["site-0", "site-1"])["site-1"] == styles["site-1"]


def test_a_generated_brain_gets_no_hole_where_it_has_the_backgrounds_value():
    picture = np.zeros((9, 9))
    picture[2:7, 2:7] = 1.0
    picture[4, 3:7] = 0.05  # a sulcus that is open to the background
    expected = np.zeros((9, 9), dtype=bool)
    expected[2:7, 2:7] = True
    assert np.array_equal(_inside(picture), expected)


@pytest.mark.parametrize("names", [("original",), ("original", "masked", "mae", "decoder")])
def test_brains_are_drawn_from_whatever_pictures_there_are(names):
    volume = np.random.default_rng(0).normal(size=(10, 12, 10)).astype(np.float32)
    image = imread(io.BytesIO(brain_slices(dict.fromkeys(names, volume))))
    assert image[..., :3].std() > 0.1


def test_generated_brains_have_ages_as_columns():
    volumes = np.zeros((2, 1, 10, 12, 10), dtype=np.float32)
    volumes[1, 0, 2:8, 2:10, 2:8] = 2.0  # only the second age has a brain
    png = generated_grid(Generated(volumes, np.array([30.0, 80.0]), ("HC",)))
    image = imread(io.BytesIO(png))[..., :3].mean(2)
    row = image[image.shape[0] // 2]
    assert row[len(row) * 3 // 4] > 0.8
    assert row[len(row) // 4] < 0.1
