"""Measured ventricles against closed forms and against the phantom's truth."""

import csv

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from braing3n.data.preprocess import preprocess
from braing3n.data.reading import load_scan
from braing3n.presets import PRESETS
from simulation.phantom.measure import ventricle_ml
from simulation.phantom.write import write_phantom

NANO = PRESETS["nano"]


def head(radius_mm: float, voxel_mm: float = 4.0) -> np.ndarray:
    """White matter with one ball of CSF in its middle, averaged from a grid four times as fine."""
    shape = [int(s * 4 / voxel_mm) for s in NANO.shape]
    fine = [(np.arange(4 * n) - (4 * n - 1) / 2) * voxel_mm / 4 for n in shape]
    x, y, z = np.meshgrid(*fine, indexing="ij", sparse=True)
    ball = (x**2 + (y + 4) ** 2 + (z - 14) ** 2 < radius_mm**2).astype(np.float32)
    share = ball.reshape(shape[0], 4, shape[1], 4, shape[2], 4).mean(axis=(1, 3, 5))
    return 0.5 - 3 * share


@pytest.mark.parametrize("radius_mm", [15.0, 18.0, 21.0])
def test_a_ball_of_csf_has_the_volume_of_a_ball(radius_mm):
    expected_ml = 4 / 3 * np.pi * radius_mm**3 / 1000
    assert ventricle_ml(head(radius_mm), 4.0) == pytest.approx(expected_ml, rel=0.08)


def test_the_voxel_size_does_not_matter():
    fine = ventricle_ml(head(18.0, voxel_mm=2.0), 2.0)
    assert fine == pytest.approx(ventricle_ml(head(18.0), 4.0), rel=0.05)


def test_shift_and_scale_of_intensities_change_nothing():
    volume = head(16.0)
    assert ventricle_ml(1.7 * volume - 0.4, 4.0) == pytest.approx(ventricle_ml(volume, 4.0))


def test_blur_changes_little():
    volume = head(18.0)
    blurred = gaussian_filter(volume, 0.7)
    assert ventricle_ml(blurred, 4.0) == pytest.approx(ventricle_ml(volume, 4.0), rel=0.15)


def test_a_volume_without_contrast_has_no_ventricles():
    assert ventricle_ml(np.zeros(NANO.shape, dtype=np.float32), 4.0) == 0.0


@pytest.mark.parametrize("volume", [
    np.zeros((40, 48)), np.full(NANO.shape, np.nan), np.zeros((10, 12, 10)),
])
def test_what_is_not_a_brain_s_volume_is_refused(volume):
    with pytest.raises(ValueError, match=r"expected one finite volume|too little for a brain"):
        ventricle_ml(volume, 4.0)


def test_phantom_brains_measure_as_large_as_they_are(tmp_path):
    out = write_phantom(tmp_path / "cohort", sites=4, subjects=16, seed=1)
    with (out / "truth.tsv").open(encoding="utf-8", newline="") as stream:
        truth = list(csv.DictReader(stream, delimiter="\t"))
    measured = []
    for row in truth:
        entities = [row["participant_id"]] + [row["session"]] * (row["session"] != "n/a")
        folder = out.joinpath(row["site"], *entities, "anat")
        scan = load_scan(folder / f"{'_'.join(entities)}_T1w.nii.gz")
        measured.append(ventricle_ml(preprocess(scan, NANO), NANO.voxel_mm))
    true = [float(row["ventricle_ml"]) for row in truth]
    assert spearmanr(measured, true).statistic >= 0.9
    assert np.median(np.divide(measured, true)) == pytest.approx(1, abs=0.15)
