import os

import numpy as np
import pytest
import torch

from braing3n.config import DataConfig, SiteConfig
from braing3n.data.cohort import is_held_out
from braing3n.data.site_data import open_site_data
from braing3n.errors import CohortError, ScanError
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


def _no_reading(monkeypatch):
    def fail(*_):
        raise AssertionError("a scan was read again")

    monkeypatch.setattr("braing3n.data.shelf.load_scan", fail)


def test_examples_are_split_by_subject_and_give_tensors(site):
    data = open_site_data(site, NANO)
    assert len(data.train + data.held_out) == 9
    assert {e.subject for e in data.held_out} == {
        f"sub-{n:02d}" for n in range(8) if is_held_out(f"sub-{n:02d}", 0.4)}
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
    assert "cannot be read to its end" in data.skipped[0].reason
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
    subject = next(iter(before))
    write_scan(_path(site, subject), seed=77)
    os.utime(_path(site, subject), ns=(1, 1))
    after = {e.subject: e.key for e in open_site_data(site, NANO).train}
    assert after.pop(subject) != before.pop(subject)
    assert after == before


@pytest.mark.parametrize("damage", [lambda c: c[:-9], lambda c: c[:-50] + b"\0" + c[-49:]])
def test_a_damaged_cache_entry_is_made_again(damage, site):
    data = open_site_data(site, NANO)
    example = data.train[0]
    volume = data.volumes([example])
    entry = next(site.state_dir.rglob(f"{example.key}.npy"))
    content = entry.read_bytes()
    # The last voxels are background, 0: make the wrong byte differ from it.
    entry.write_bytes(damage(content).replace(content[-32:], b"x" * 32))
    assert torch.equal(data.volumes([example]), volume)
    assert entry.read_bytes() == content


def test_a_lost_entry_of_a_scan_that_changed_is_refused(site, write_scan):
    data = open_site_data(site, NANO)
    example = data.train[0]
    next(site.state_dir.rglob(f"{example.key}.npy")).unlink()
    write_scan(data.paths[example.key], seed=55)
    with pytest.raises(ScanError, match="changed during the run"):
        data.volumes([example])


def test_a_damaged_index_is_forgotten(site):
    first = open_site_data(site, NANO)
    next(site.state_dir.rglob("index-*.json")).write_text("{half")
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
    for path in site.state_dir.rglob("*.npy"):
        if path.stem not in keys:
            path.write_bytes(path.read_bytes()[:-1])
    data.cache_tokens("one", encode, batch_size=9)
    assert torch.equal(data.tokens(data.train, "one"), tokens)


def test_a_site_without_a_usable_scan_or_without_a_subject_to_train_on_is_refused(site):
    all_held_out = site.model_copy(
        update={"data": site.data.model_copy(update={"held_out": 0.9999})})
    with pytest.raises(CohortError, match="8 subjects, all held out"):
        open_site_data(all_held_out, NANO)
    for path in site.data.folder.rglob("*.nii.gz"):
        path.write_bytes(b"")
    with pytest.raises(CohortError, match="9 scans that were refused"):
        open_site_data(site, NANO)


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
