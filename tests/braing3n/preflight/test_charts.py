"""Charts over a folder's scans: only of what differs, with the same in words."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from braing3n.data.tree import Entry, Kind
from braing3n.preflight.charts import cohort_charts
from braing3n.preflight.outcome import Facts, VolumeReport


def _report(number=0, *, modality="T1w", voxel_mm=(1.0, 1.0, 1.0), axes="RAS", is_stripped=True,
            background_share=0.6, is_usable=True):
    facts = Facts((64, 64, 64), voxel_mm, axes, np.eye(4), None, is_stripped, background_share,
                  (1, 2, 1), None)
    entry = Entry(Path(f"/data/sub-{number:02}.nii"), Kind.SCAN, None, None, modality)
    return VolumeReport(entry, (), facts if is_usable else None)


def _words(reports):
    return {chart.title: chart.words for chart in cohort_charts(reports)[0]}


def test_without_a_scan_there_is_nothing_to_draw():
    assert cohort_charts([]) == ([], [])
    assert cohort_charts([_report(is_usable=False)]) == ([], [])


def test_what_is_the_same_in_all_is_a_sentence_and_no_chart():
    charts, same = cohort_charts([_report(), _report(is_usable=False, axes="PSR")])
    assert charts == []
    assert same == ["Modality in the file's name: T1w.",
                    "Voxel size in mm, shortest edge first: 1 x 1 x 1.",
                    "Orientation in which voxels are stored: RAS.", "Skull: stripped."]


def test_what_differs_is_counted_the_most_frequent_first():
    reports = [_report(modality="T2w", voxel_mm=(1.25, 1.0, 1.0)), _report(), _report(modality=None),
               _report(axes="LAS", is_stripped=False), _report(voxel_mm=(1.0, 1.25, 1.0))]
    words = _words(reports)
    assert words["Modality in the file's name"] == "T1w: 3; T2w: 1; not named: 1"
    # The order of a file's axes is no difference in its voxels.
    assert words["Voxel size in mm, shortest edge first"] == "1 x 1 x 1: 3; 1 x 1 x 1.25: 2"
    assert words["Orientation in which voxels are stored"] == "RAS: 4; LAS: 1"
    assert words["Skull"] == "stripped: 4; not stripped: 1"


def test_rare_orientations_are_taken_together_and_none_is_lost():
    codes = [f"{a}{b}{c}" for a in "RL" for b in "AP" for c in "SI"] + ["PSR", "SPL"]
    reports = [_report(axes=code) for code in ["RAS", *codes]]
    counts = dict(part.rsplit(": ", 1)
                  for part in _words(reports)["Orientation in which voxels are stored"].split("; "))
    assert list(counts)[-1] == "3 others"
    assert sum(map(int, counts.values())) == len(reports)


def test_many_voxel_sizes_are_drawn_as_their_shortest_and_longest_edges():
    reports = [_report(voxel_mm=(1.0, 1.0, 1.0 + number / 10)) for number in range(11)]
    assert _words(reports)["Voxel size in mm"] == (
        "shortest edge: 11 scans, 1 to 1, median 1; longest edge: 11 scans, 1 to 2, median 1.5")


@pytest.mark.parametrize("shares", [(0.0, 0.0), (1.0, 1.0), (0.3, 0.3), (0.1, 0.9)])
def test_shares_of_background_are_told_for_stripped_and_unstripped_scans_apart(shares):
    words = _words([_report(background_share=shares[0]),
                    _report(background_share=shares[1], is_stripped=False)])
    told = words["Share of voxels that are background of one exact value"]
    assert told == (f"stripped: 1 scans, {shares[0]:.2g} to {shares[0]:.2g}, median {shares[0]:.2g}; "
                    f"not stripped: 1 scans, {shares[1]:.2g} to {shares[1]:.2g}, "
                    f"median {shares[1]:.2g}")


def test_charts_are_pictures_and_the_same_scans_give_the_same_bytes():
    reports = [_report(), _report(axes="LAS")]
    first, second = (cohort_charts(reports)[0] for _ in range(2))
    assert first == second
    for chart in first:
        colours = np.unique(np.asarray(Image.open(io.BytesIO(chart.png)).convert("RGB")).reshape(-1, 3),
                            axis=0)
        assert [0, 0x72, 0xB2] in colours.tolist()
