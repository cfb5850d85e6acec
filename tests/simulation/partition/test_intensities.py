import numpy as np
import pytest

from braing3n.conditions import Conditions
from simulation.cohorts.row import CohortRow
from simulation.partition.intensities import compare_intensities
from simulation.partition.parts import SitePart
from simulation.partition.profiles import EDGES


def _site(name, paths, modality="T1w"):
    known = Conditions(modality=modality)
    return SitePart(name, tuple(CohortRow(f"{name}{number}", None, name, known, path)
                                for number, path in enumerate(paths)))


def _two_tissues(brain, share, seed=0):
    """A brain whose voxels are about 100, and 300 in a share of them, at one side."""
    noise = np.random.default_rng(seed).normal(0, 3, brain.shape)
    inside = np.flatnonzero(brain)
    bright = np.zeros(brain.size, bool)
    bright[inside[: round(share * len(inside))]] = True
    levels = np.where(bright.reshape(brain.shape), 300, 100) + noise
    return np.where(brain != 0, levels, 0).astype(np.int16)


def test_two_tissues_have_the_distance_in_closed_form(brain, write_scan, tmp_path):
    # Voxels of 4 mm are taken as they are, so z-scores are those of two points. With a share q of the
    # brighter, these lie at -sqrt(q/p) and sqrt(p/q), p = 1 - q: at -1 and 1 for a half, at -0.5 and 2
    # for a fifth. From the one to the other: 0.5 of the mass moves 0.5, 0.3 moves 1.5, 0.2 moves 1.
    paths = {name: [write_scan(tmp_path / f"{name}{n}_T1w.nii", _two_tissues(brain, share, n))
                    for n in range(2)] for name, share in (("even", 0.5), ("few", 0.2))}
    found = compare_intensities([_site(name, files) for name, files in paths.items()], 8)
    profiles = found.profiles["T1w"]
    assert profiles["even"].distance == pytest.approx(0.5 * 0.5 + 0.3 * 1.5 + 0.2 * 1, abs=0.06)
    assert profiles["few"].distance == profiles["even"].distance
    assert profiles["few"].num_scans == 2
    assert (profiles["few"].density * np.diff(EDGES)).sum() == pytest.approx(1)


def test_a_site_whose_scans_are_scaled_and_moved_is_not_apart(brain, write_scan, tmp_path):
    plain = write_scan(tmp_path / "a_T1w.nii", brain)
    scaled = write_scan(tmp_path / "b_T1w.nii", np.where(brain != 0, 3 * brain + 50, 0))
    found = compare_intensities([_site("a", [plain]), _site("b", [scaled])], 8)
    assert found.profiles["T1w"]["a"].distance == pytest.approx(0, abs=0.01)


def test_only_like_is_compared_with_like(brain, write_scan, tmp_path):
    path = write_scan(tmp_path / "a.nii", brain)
    found = compare_intensities([_site("a", [path]), _site("b", [path], "FLAIR")], 8)
    assert found.profiles["T1w"]["a"].distance is None
    assert found.profiles["FLAIR"].keys() == {"b"}


def test_so_many_subjects_a_site_are_read_whatever_their_order_and_all_are_told(write_scan, tmp_path):
    rows = _site("a", [write_scan(tmp_path / f"{n}.nii", seed=n) for n in range(6)]).rows
    calls = []
    first = compare_intensities([SitePart("a", rows)], 3, lambda *done: calls.append(done))
    again = compare_intensities([SitePart("a", rows[::-1])], 3)
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert np.allclose(first.profiles["T1w"]["a"].density, again.profiles["T1w"]["a"].density)


def test_scans_that_cannot_be_used_are_told_and_not_compared(write_scan, tmp_path):
    noise = np.random.default_rng(0).integers(1, 900, (30, 34, 28)).astype(np.int16)
    head = write_scan(tmp_path / "head.nii", noise)
    good = write_scan(tmp_path / "good.nii")
    found = compare_intensities([_site("a", [head, tmp_path / "gone.nii"]), _site("b", [good])], 8)
    assert found.refused["a"][0] == 2
    assert "a" not in found.profiles["T1w"]
    assert found.profiles["T1w"]["b"].distance is None
