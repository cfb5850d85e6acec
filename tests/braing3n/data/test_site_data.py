import os
import shutil

import numpy as np
import pytest
import torch

from braing3n.config import CacheConfig, DataConfig, SiteConfig
from braing3n.data import shelf
from braing3n.data.cohort import open_cohort
from braing3n.data.envelope import write_key
from braing3n.data.site_data import open_site_data
from braing3n.data.splits import FILE_NAME, place, strata_of
from braing3n.errors import CohortError, ConfigError, ScanError
from braing3n.presets import PRESETS

NANO = PRESETS["nano"]


@pytest.fixture
def site(write_scan, tmp_path):
    """A site of eight subjects; the first has two scans."""
    for number in range(8):
        subject = f"sub-{number:02d}"
        write_scan(tmp_path / f"bids/{subject}/anat/{subject}_T1w.nii.gz", seed=number)
    write_scan(tmp_path / "bids/sub-00/anat/sub-00_T2w.nii.gz", seed=100)
    rows = "".join(f"sub-{number:02d}\t{50 + number}\tF\n" for number in range(8))
    (tmp_path / "bids/participants.tsv").write_text("participant_id\tage\tsex\n" + rows)
    return SiteConfig(name="a", data=DataConfig(folder=tmp_path / "bids", held_out=0.4),
                      state_dir=tmp_path / "state")


def _path(site, subject):
    return site.data.folder / subject / "anat" / f"{subject}_T1w.nii.gz"


def _count_readings(monkeypatch):
    """Return a list that takes the path of every scan that is read from now on."""
    read: list = []
    load_scan = shelf.load_scan
    monkeypatch.setattr(shelf, "load_scan", lambda path: (read.append(path), load_scan(path))[1])
    return read


def _no_reading(monkeypatch):
    def fail(*_):
        raise AssertionError("a scan was read again")

    monkeypatch.setattr("braing3n.data.shelf.load_scan", fail)


def test_examples_are_split_by_subject_and_give_tensors(site):
    data = open_site_data(site, NANO)
    assert len(data.train + data.held_out) == 9
    volumes = open_cohort(site.data).volumes
    split = place(strata_of((v.subject, v.conditions) for v in volumes), site.data, {})
    assert {e.subject for e in data.held_out} == {s for s in split if split[s] == "validation"}
    assert len({e.subject for e in data.held_out}) == 3
    assert data.test == ()
    volumes = data.volumes(data.train[:2])
    assert volumes.shape == (2, 1, 40, 48, 40)
    assert volumes.dtype == torch.float32
    conditions = data.conditions(data.train)
    assert conditions.shape == (len(data.train), 6)
    ages = [0.5 + int(e.subject[-2:]) / 100 for e in data.train]
    np.testing.assert_allclose(conditions[:, 0], ages, rtol=1e-6)
    assert conditions[:, 4].isnan().all()
    assert data.volumes(()).shape == (0, 1, 40, 48, 40)
    assert data.conditions(()).shape[0] == 0


def test_a_truncated_scan_is_left_out_and_named_and_the_rest_goes_on(site):
    path = _path(site, "sub-03")
    path.write_bytes(path.read_bytes()[:2000])
    calls = []
    data = open_site_data(site, NANO, lambda done, total: calls.append((done, total)))
    assert calls == [(n, 9) for n in range(1, 10)]
    assert [skipped.path for skipped in data.skipped] == [path]
    assert "a whole gzip stream" in data.skipped[0].reason
    assert "sub-03" not in {e.subject for e in data.train + data.held_out}
    assert len(data.train + data.held_out) == 8


def test_a_second_opening_reads_no_scan_again_not_even_a_bad_one(site, monkeypatch):
    _path(site, "sub-03").write_bytes(b"junk")
    first = open_site_data(site, NANO)
    volumes = first.volumes(first.train)
    _no_reading(monkeypatch)
    second = open_site_data(site, NANO)
    assert (second.train, second.held_out, second.skipped) == (
        first.train, first.held_out, first.skipped)
    assert torch.equal(second.volumes(second.train), volumes)


def test_a_scan_that_changed_is_read_again_and_gets_another_key(site, write_scan):
    before = {e.subject: e.key for e in open_site_data(site, NANO).train}
    subject = next(subject for subject in before if subject != "sub-00")  # it has two scans
    write_scan(_path(site, subject), seed=77)
    os.utime(_path(site, subject), ns=(1, 1))
    after = {e.subject: e.key for e in open_site_data(site, NANO).train}
    assert after.pop(subject) != before.pop(subject)
    assert after == before


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[:-9],
                                    lambda c: c[:-50] + b"\1" + c[-49:]])
def test_a_damaged_cache_entry_is_made_again(damage, site):
    data = open_site_data(site, NANO)
    example = data.train[0]
    volume = data.volumes([example])
    entry = next(site.state_dir.rglob(f"{example.key}.plain"))
    content = entry.read_bytes()
    entry.write_bytes(damage(content))
    assert torch.equal(data.volumes([example]), volume)
    assert entry.read_bytes() == content


def test_a_lost_entry_of_a_scan_that_changed_is_refused(site, write_scan):
    data = open_site_data(site, NANO)
    example = data.train[0]
    next(site.state_dir.rglob(f"{example.key}.plain")).unlink()
    write_scan(data.paths[example.key], seed=55)
    with pytest.raises(ScanError, match="changed during the run"):
        data.volumes([example])


def test_a_damaged_index_is_forgotten(site):
    first = open_site_data(site, NANO)
    next(site.state_dir.rglob("index-*")).write_text("{half")
    assert open_site_data(site, NANO).train == first.train


def test_tokens_are_computed_once_and_kept_per_encoder(site):
    data = open_site_data(site, NANO)
    seen = []

    def encode(volumes):
        seen.append(len(volumes))
        return volumes.flatten(1)[:, :60].reshape(-1, 10, 6) + 0.5

    data.cache_tokens("one", encode, batch_size=4)
    assert seen == [4, 4, 1]
    data.cache_tokens("one", encode, batch_size=4)
    assert sum(seen) == 9
    tokens = data.tokens(data.train, "one")
    assert tokens.dtype == torch.float32
    torch.testing.assert_close(tokens, encode(data.volumes(data.train)), atol=1e-3, rtol=1e-3)
    with pytest.raises(ScanError, match="not in the cache"):
        data.tokens(data.train, "two")


def test_a_damaged_token_file_is_computed_again(site):
    data = open_site_data(site, NANO)

    def encode(volumes):
        return volumes.flatten(1)[:, :6].reshape(-1, 2, 3) + 0.5

    data.cache_tokens("one", encode, batch_size=9)
    tokens = data.tokens(data.train, "one")
    keys = {e.key for e in data.train + data.held_out}
    entries = [path for path in site.state_dir.rglob("*.plain")
               if path.stem not in keys and not path.stem.startswith("index")]
    assert len(entries) == 9

    def damage():
        for path in entries:
            path.write_bytes(path.read_bytes()[:-1])

    damage()  # while a stage runs, with the encoder at hand
    assert torch.equal(data.tokens(data.train, "one"), tokens)
    damage()  # before a stage begins
    again = open_site_data(site, NANO)
    again.cache_tokens("one", encode, batch_size=9)
    assert torch.equal(again.tokens(again.train, "one"), tokens)
    damage()  # where nothing could make them again
    with pytest.raises(ScanError, match="not in the cache"):
        open_site_data(site, NANO).tokens(data.train, "one")


def test_a_site_without_a_usable_scan_or_without_a_subject_to_train_on_is_refused(site):
    train = {e.subject for e in open_site_data(site, NANO).train}
    for subject in train:
        shutil.rmtree(site.data.folder / subject)
    with pytest.raises(CohortError, match="3 subjects, all held out"):
        open_site_data(site, NANO)
    for path in site.data.folder.rglob("*.nii.gz"):
        path.write_bytes(b"")
    with pytest.raises(CohortError, match="scans that were refused"):
        open_site_data(site, NANO)


def test_test_subjects_are_apart_and_nothing_is_computed_on_them(site):
    site = site.model_copy(update={"data": site.data.model_copy(update={"test": 0.25})})
    data = open_site_data(site, NANO)
    sides = [{e.subject for e in side} for side in (data.train, data.held_out, data.test)]
    assert [len(side) for side in sides] == [3, 3, 2]
    assert len(set.union(*sides)) == 8
    seen = []
    data.cache_tokens("one", lambda volumes: (seen.append(len(volumes)), volumes.flatten(2))[1], 1)
    assert len(seen) == len(data.train + data.held_out) == 9 - len(data.test)


def test_new_subjects_and_another_preset_move_nobody(site, write_scan):
    def sides():
        data = open_site_data(site, NANO)
        return {e.subject: name for name in ("train", "held_out") for e in getattr(data, name)}

    before = sides()
    for number in range(8, 14):
        subject = f"sub-{number:02d}"
        write_scan(site.data.folder / f"{subject}/anat/{subject}_T1w.nii.gz", seed=number)
    after = sides()
    assert after.items() >= before.items()
    assert len(after) == 14
    shutil.rmtree(site.state_dir / "cache")
    assert sides() == after


def test_a_site_in_use_whose_record_of_the_split_is_gone_is_refused(site):
    open_site_data(site, NANO)
    (site.state_dir / FILE_NAME).unlink()
    with pytest.raises(CohortError, match="is gone"):
        open_site_data(site, NANO)


def test_an_interrupted_first_opening_goes_on_where_it_stopped(site, monkeypatch):
    def interrupt(done, total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_site_data(site, NANO, interrupt)
    reads = _count_readings(monkeypatch)
    assert len(open_site_data(site, NANO).paths) == 9
    assert len(reads) == 3


def test_a_cache_that_is_too_small_slows_training_and_stops_nothing(site, monkeypatch):
    plain = open_site_data(site, NANO)
    volumes = plain.volumes(plain.train)
    calls = []

    def encode(volumes):
        calls.append(len(volumes))
        return volumes.flatten(2) + 0.5  # as large as the volumes

    plain.cache_tokens("one", encode, 4)
    tokens = plain.tokens(plain.train, "one")
    shutil.rmtree(site.state_dir)
    limit_gb = 3.5 * plain.shelf.volume_bytes / 1e9
    small = site.model_copy(update={"cache": CacheConfig(limit_gb=limit_gb)})
    for _ in range(2):
        data = open_site_data(small, NANO)
        assert data.train == plain.train
        assert data.shelf.cache.num_bytes() <= limit_gb * 1e9
        assert torch.equal(data.volumes(data.train), volumes)
        calls.clear()
        data.cache_tokens("one", encode, 1)
        assert len(calls) == 1  # what cannot be kept is not computed beforehand
        assert torch.equal(data.tokens(data.train, "one"), tokens)
        assert data.shelf.cache.num_bytes() <= limit_gb * 1e9
        assert len([note for note in data.notes if "limit_gb" in note]) == 1
    reads = _count_readings(monkeypatch)
    again = open_site_data(small, NANO)
    assert reads == []  # opening does not make what has no room
    assert again.notes == data.notes
    assert not any("limit_gb" in note for note in plain.notes)


@pytest.fixture
def encrypted(site, tmp_path):
    write_key(tmp_path / "key")
    cache = CacheConfig(encrypt=True, key_file=tmp_path / "key")
    return site.model_copy(update={"cache": cache})


def test_an_encrypted_cache_gives_the_same_tensors_and_names_nothing(site, encrypted):
    data = open_site_data(encrypted, NANO)
    data.cache_tokens("one", lambda volumes: volumes.flatten(2), 4)
    for path in (encrypted.state_dir / "cache").rglob("*"):
        assert path.is_dir() or b"sub-" not in path.read_bytes()
    again = open_site_data(encrypted, NANO)
    other = open_site_data(site.model_copy(update={"state_dir": site.state_dir / "open"}), NANO)
    assert torch.equal(again.volumes(again.train), other.volumes(other.train))
    assert torch.equal(again.tokens(again.train, "one"), data.volumes(data.train).flatten(2).half())


def test_a_wrong_key_is_an_error_and_rebuilds_nothing(encrypted, tmp_path, monkeypatch):
    data = open_site_data(encrypted, NANO)
    volumes = data.volumes(data.train)
    write_key(tmp_path / "other")
    wrong = encrypted.cache.model_copy(update={"key_file": tmp_path / "other"})
    with pytest.raises(ConfigError, match="not the key of the cache"):
        open_site_data(encrypted.model_copy(update={"cache": wrong}), NANO)
    _no_reading(monkeypatch)
    assert torch.equal(open_site_data(encrypted, NANO).volumes(data.train), volumes)


def test_a_swapped_encrypted_entry_is_made_again(encrypted):
    data = open_site_data(encrypted, NANO)
    volumes = data.volumes(data.train)
    one, other = (next(encrypted.state_dir.rglob(f"{e.key}.*")) for e in data.train[:2])
    one.write_bytes(other.read_bytes())
    assert torch.equal(data.volumes(data.train), volumes)


def test_all_76_real_brains_load_and_fit_into_the_box(test_data, tmp_path):
    for name, number in (("site-nsk", 48), ("site-hh", 28)):
        site = SiteConfig(name=name, state_dir=tmp_path / name, data=DataConfig(
            folder=test_data / "nifti/minicohort" / name))
        data = open_site_data(site, NANO)
        assert data.skipped == ()
        volumes = data.volumes(data.train + data.held_out)
        assert len(volumes) == number
        brain = volumes != 0
        share = brain.float().mean(dim=(1, 2, 3, 4))
        assert 0.2 < share.min() < share.max() < 0.5
        # Uncut: next to nothing of any brain lies on the box's faces.
        faces = sum(brain.select(axis, end).sum() for axis in (2, 3, 4) for end in (0, -1))
        assert faces < 1e-3 * brain.sum()
