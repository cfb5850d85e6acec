from itertools import permutations
from pathlib import Path

import pytest

from braing3n.conditions import Conditions
from braing3n.config import DataConfig
from braing3n.data.visits import choose
from braing3n.data.volumes import Volume
from braing3n.errors import CohortError


def _volume(name: str, modality: str = "T1w", subject: str = "sub-1",
            session: str | None = None) -> Volume:
    return Volume(subject, session, modality, Path("bids") / name, Conditions())


def _data(**settings: object) -> DataConfig:
    return DataConfig(folder=Path("bids"), **settings)


def test_everything_is_used_by_default_and_nothing_is_noted():
    volumes = [_volume("sub-1_run-1_T1w.nii"), _volume("sub-1_run-2_T1w.nii"),
               _volume("x.nii", "unknown")]
    assert choose(volumes, _data()) == (tuple(volumes), [])


@pytest.mark.parametrize("order", [
    ["sub-1_run-2_T1w.nii", "sub-1_run-1_T1w.nii"],
    ["sub-1_run-10_T1w.nii", "sub-1_run-9_T1w.nii"],            # numbers, not text
    ["sub-1_run-02_T1w.nii", "sub-1_T1w.nii"],
    ["sub-1_rec-norm_run-1_T1w.nii", "sub-1_run-2_T1w.nii"],
    ["sub-1_acq-mprage_rec-NORM_T1w.nii", "sub-1_T1w.nii"],
    ["sub-1_rec-norm_run-2_T1w.nii", "sub-1_rec-norm_run-1_T1w.nii"],
    ["sub-1_run-1_T1w.nii", "sub-1_acq-fast_run-2_T1w.nii", "sub-1_rec-moco_run-1_T1w.nii"],
    ["sub-1_T1w.nii", "sub-1_echo-1_T1w.nii", "sub-1_echo-2_T1w.nii"],
    ["sub-1_acq-a_T1w.nii", "sub-1_acq-b_T1w.nii"],
    ["a.nii", "b.nii"],
])
def test_the_best_scan_of_a_visit_is_the_same_in_whatever_order_they_come(order):
    for names in permutations(order):
        used, notes = choose([_volume(name) for name in names], _data(per_visit="best"))
        assert [volume.path.name for volume in used] == order[:1]
        assert f"({len(order) - 1})" in notes[0]
        assert all(name in notes[0] for name in order[1:])


def test_another_subject_visit_or_modality_is_no_rival():
    volumes = [_volume("sub-1_ses-1_T1w.nii", session="ses-1"),
               _volume("sub-1_ses-1_T2w.nii", "T2w", session="ses-1"),
               _volume("sub-1_ses-2_T1w.nii", session="ses-2"),
               _volume("sub-2_T1w.nii", subject="sub-2")]
    assert choose(volumes, _data(per_visit="best")) == (tuple(volumes), [])


def test_scans_of_unknown_modality_are_not_taken_for_copies_of_one_another():
    volumes = [_volume("a.nii", "unknown"), _volume("b.nii", "unknown")]
    assert choose(volumes, _data(per_visit="best")) == (tuple(volumes), [])


def test_modalities_that_a_site_does_not_want_are_left_out_and_counted():
    volumes = [_volume("sub-1_T1w.nii"), _volume("sub-1_T2w.nii", "T2w"), _volume("x.nii", "unknown")]
    used, notes = choose(volumes, _data(modalities=("T1w", "FLAIR")))
    assert used == (volumes[0],)
    assert len(notes) == 1
    assert "(2): sub-1_T2w.nii, x.nii" in notes[0]
    assert choose(volumes, _data(modalities=("T2w", "unknown")))[0] == tuple(volumes[1:])


def test_a_cohort_without_the_modalities_that_are_wanted_is_told():
    with pytest.raises(CohortError) as caught:
        choose([_volume("sub-1_T2w.nii", "T2w")], _data(modalities=("T1w",)))
    assert caught.value.found == "1 T2w"
