import json
import math
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.conditions import Conditions
from braing3n.config import DataConfig
from braing3n.data.splits import (
    FILE_NAME,
    SIDES,
    begin_split,
    describe,
    open_split,
    place,
    remember,
    strata_of,
)
from braing3n.errors import CohortError
from braing3n.files import digest_bytes

STRATA = st.tuples(st.sampled_from(["HC", "AD", "MCI"]), st.sampled_from(["F", "M"]),
                   st.sampled_from(["20-39 years", "40-59 years"]))
COHORTS = st.dictionaries(st.integers(0, 10**6).map("sub-{:06d}".format), STRATA, max_size=60)
SHARES = st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5]), st.sampled_from([0.0, 0.1, 0.25, 0.4]))


def shares(validation: float = 0.2, test: float = 0.0) -> DataConfig:
    return DataConfig(folder=Path("x"), held_out=validation, test=test)


def remembered(split):
    return {digest_bytes(subject.encode()): side for subject, side in split.items()}


def volume(subject, **known):
    return subject, Conditions(**known)


@given(cohort=COHORTS, both=SHARES)
def test_a_fresh_draw_is_within_one_subject_of_its_share_in_every_stratum(cohort, both):
    split = place(cohort, shares(*both), {})
    assert set(split) == set(cohort)
    assert set(split.values()) <= set(SIDES)
    least = math.ceil(1 / min((share for share in both if share), default=1))
    sizes = Counter(cohort.values())
    for side, share in zip(("validation", "test"), both, strict=True):
        held = Counter(cohort[subject] for subject in split if split[subject] == side)
        for stratum, size in sizes.items():
            if size >= least:
                assert abs(held[stratum] - share * size) < 1
        assert held.total() <= share * len(cohort) + 1e-6
        if sum(both) <= 0.5:  # beyond, both sides may want the last one of a small stratum
            assert held.total() == math.floor(share * len(cohort) + 1e-6)
    if cohort:
        assert "train" in split.values()


@given(cohort=COHORTS, both=SHARES, data=st.data())
def test_adding_subjects_in_any_order_never_moves_one(cohort, both, data):
    order = data.draw(st.permutations(sorted(cohort)))
    split = {}
    while order:
        step = data.draw(st.integers(1, len(order)))
        here = {subject: cohort[subject] for subject in [*split, *order[:step]]}
        order = order[step:]
        after = place(here, shares(*both), remembered(split))
        assert {subject: after[subject] for subject in split} == split
        assert set(after) == set(here)
        split = after


@given(size=st.integers(0, 80), share=st.sampled_from([0.1, 0.2, 0.25, 0.5]), data=st.data())
def test_a_stratum_that_grows_stays_within_one_subject_of_its_share(size, share, data):
    split = {}
    while size:
        new = data.draw(st.integers(1, size))
        size -= new
        here = {f"sub-{number}": ("HC", "F", "20-39 years") for number in range(len(split) + new)}
        split = place(here, shares(share), remembered(split))
        held = Counter(split.values())["validation"]
        assert abs(held - share * len(here)) < 1


@given(cohort=COHORTS, data=st.data())
def test_a_draw_depends_on_who_is_there_and_not_on_their_order(cohort, data):
    shuffled = {subject: cohort[subject] for subject in data.draw(st.permutations(sorted(cohort)))}
    assert place(shuffled, shares(), {}) == place(cohort, shares(), {})


def test_those_of_the_lowest_hashes_are_held_out():
    cohort = {f"sub-{number}": ("HC", "F", "20-39 years") for number in range(50)}
    split = place(cohort, shares(0.2, 0.1), {})
    ranked = sorted(cohort, key=lambda subject: digest_bytes(subject.encode()))
    assert {split[subject] for subject in ranked[:15]} == {"validation", "test"}
    assert {split[subject] for subject in ranked[15:]} == {"train"}
    assert Counter(split.values()) == {"train": 35, "validation": 10, "test": 5}


def test_a_changed_share_moves_nobody_and_new_subjects_fill_it_up():
    cohort = {f"sub-{number}": ("HC", "F", "20-39 years") for number in range(20)}
    before = place(cohort, shares(0.2), {})
    assert place(cohort, shares(0.5, 0.2), remembered(before)) == before
    more = cohort | {f"new-{number}": ("HC", "F", "20-39 years") for number in range(20)}
    after = place(more, shares(0.5, 0.2), remembered(before))
    assert {subject: after[subject] for subject in cohort} == before
    # 20 and 8 of 40 are wanted, 4 and 0 are there, and 20 come: both end two behind.
    assert Counter(after.values()) == {"train": 16, "validation": 18, "test": 6}


def test_a_large_stratum_is_held_out_by_itself_and_small_ones_together():
    cohort = {f"ad-{number}": ("AD", "F", "60-79 years") for number in range(10)}
    cohort |= {f"hc-f-{number}": ("HC", "F", f"{number}") for number in range(5)}
    cohort |= {f"hc-m-{number}": ("HC", "M", f"{number}") for number in range(3)}
    cohort |= {f"pd-{number}": ("PD", "M", "60-79 years") for number in range(2)}
    split = place(cohort, shares(), {})
    held = [subject for subject, side in split.items() if side == "validation"]
    assert Counter(subject.rpartition("-")[0] for subject in held).items() >= {
        "ad": 2, "hc-f": 1}.items()
    assert len(held) == 4
    # Two men of HC with three... the rest: five subjects, none of them alone enough for a share.
    assert sum(subject.startswith(("hc-m", "pd")) for subject in held) == 1


def test_a_subjects_stratum_is_that_of_its_first_visit_and_of_all_that_is_known():
    volumes = [volume("a", age_years=80.5, diagnosis="AD"), volume("a", age_years=79.5, sex="F"),
               volume("a", modality="T2w"),
               volume("b"), volume("c", age_years=0.0, sex="M", diagnosis="HC")]
    assert strata_of(volumes) == {
        "a": ("AD", "F", "60-79 years"),
        "b": ("diagnosis unknown", "sex unknown", "age unknown"),
        "c": ("HC", "M", "0-19 years"),
    }
    assert strata_of(volumes[::-1]) == strata_of(volumes)


COHORT = {f"sub-{number}": ("HC", "F", "20-39 years") for number in range(10)}


def test_the_record_names_nobody_and_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "state" / FILE_NAME
    begin_split(path, is_in_use=False)
    split = open_split(path, COHORT, shares())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "sub-" not in path.read_text()
    assert json.loads(path.read_text())["subjects"] == remembered(split)


def test_a_subject_that_left_and_comes_back_is_where_it_was(tmp_path):
    path = tmp_path / FILE_NAME
    begin_split(path, is_in_use=False)
    first = open_split(path, COHORT, shares(0.5))
    left = [subject for subject, side in first.items() if side == "train"][:3]
    open_split(path, {s: COHORT[s] for s in COHORT if s not in left}, shares(0.5))
    open_split(path, COHORT | {f"new-{n}": COHORT["sub-0"] for n in range(9)}, shares(0.5))
    assert open_split(path, COHORT, shares(0.5)) == first


def test_a_record_that_is_as_it_was_is_not_written_again(tmp_path):
    path = tmp_path / FILE_NAME
    begin_split(path, is_in_use=False)
    open_split(path, COHORT, shares())
    before = path.stat().st_ino
    begin_split(path, is_in_use=True)
    open_split(path, COHORT, shares())
    assert path.stat().st_ino == before


@pytest.mark.parametrize("damage", [
    lambda text: "", lambda text: text[:-20], lambda text: "[]", lambda text: "{}",
    lambda text: text.replace("train", "test", 1), lambda text: text.replace("train", "tr", 1),
    lambda text: text.replace('"version": 1', '"version": 2'), lambda text: "\xff" + text,
])
def test_a_damaged_record_is_an_error_and_stays_as_it_is(damage, tmp_path):
    path = tmp_path / FILE_NAME
    remember(path, place(COHORT, shares(), {}))
    path.write_text(damage(path.read_text()), encoding="latin-1")
    before = path.read_bytes()
    with pytest.raises(CohortError, match="is damaged"):
        begin_split(path, is_in_use=False)
    with pytest.raises(CohortError, match="is damaged"):
        open_split(path, COHORT, shares())
    assert path.read_bytes() == before


def test_a_record_that_is_gone_from_a_site_in_use_is_an_error(tmp_path):
    with pytest.raises(CohortError, match="is gone"):
        begin_split(tmp_path / FILE_NAME, is_in_use=True)
    assert not (tmp_path / FILE_NAME).exists()


def _open_part(path: Path, first: int) -> None:
    open_split(path, {f"sub-{n}": ("HC", "F", "x") for n in range(first, first + 20)}, shares())


def test_processes_at_the_same_time_lose_no_subject(tmp_path):
    path = tmp_path / FILE_NAME
    begin_split(path, is_in_use=False)
    workers = [get_context("fork").Process(target=_open_part, args=(path, 20 * n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(json.loads(path.read_text())["subjects"]) == 80


def test_what_is_logged_counts_sides_and_strata():
    volumes = [volume(f"sub-{n}", sex="F", age_years=30.0 + m, diagnosis="HC")
               for n in range(10) for m in range(3)]
    strata = strata_of(volumes)
    notes = describe(strata, place(strata, shares(0.2, 0.1), {}), shares(0.2, 0.1),
                     [subject for subject, _ in volumes])
    assert notes == (
        "split: train 7 subjects with 21 volumes, validation 2 subjects with 6 volumes, "
        "test 1 subjects with 3 volumes",
        "subjects of each stratum (train / validation / test): HC, F, 20-39 years: 7 / 2 / 1",
    )
    assert "sub-" not in "".join(notes)
    few = describe({"a": ("HC", "F", "x"), "b": ("AD", "F", "x")},
                   {"a": "train", "b": "train"}, shares(), [])
    assert few[1].endswith("the rest: 2 / 0 / 0")


def test_a_split_that_was_drawn_evenly_is_not_gone_on_with_alone(tmp_path: Path) -> None:
    even = DataConfig(folder=Path(), held_out=0.2, draw="even")
    alone = DataConfig(folder=Path(), held_out=0.2, draw="alone")
    strata = {f"sub-{number}": ("HC", "F", "20-39 years") for number in range(40)}
    path = tmp_path / "split.json"
    begin_split(path, is_in_use=False)
    open_split(path, strata, even)
    kept = path.read_bytes()
    with pytest.raises(CohortError, match="other sides than their own hashes give"):
        open_split(path, strata, alone)
    assert path.read_bytes() == kept
    path.unlink()
    begin_split(path, is_in_use=False)
    first = open_split(path, strata, alone)
    more = open_split(path, {**strata, "sub-new": ("HC", "F", "20-39 years")}, alone)
    assert more.items() >= first.items()


def test_alone_a_subjects_side_depends_on_nobody_else() -> None:
    shares = DataConfig(folder=Path(), held_out=0.2, test=0.1, draw="alone")
    strata = {f"sub-{number}": ("HC", "F", "20-39 years") for number in range(400)}
    everybody = place(strata, shares, {})
    for left_out in ("sub-3", "sub-77", "sub-250"):
        rest = {subject: label for subject, label in strata.items() if subject != left_out}
        assert place(rest, shares, {}) == {s: side for s, side in everybody.items() if s != left_out}
    counts = Counter(everybody.values())
    assert 55 < counts["validation"] < 105  # 80 expected
    assert 20 < counts["test"] < 62  # 40 expected
