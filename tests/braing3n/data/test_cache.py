import os
import time

import numpy as np
import pytest

from braing3n.data.cache import ArrayCache, entry_key
from braing3n.data.envelope import Sealed
from braing3n.data.room import TOUCH_EVERY_S
from braing3n.errors import OutputError

KEY = entry_key("scan", "preprocessing")


@pytest.fixture(params=["open", "encrypted"])
def cache(request, tmp_path):
    return ArrayCache(tmp_path / "cache", Sealed(b"k" * 32) if request.param == "encrypted" else None)


def entry(tmp_path, key=KEY):
    return next((tmp_path / "cache").rglob(f"{key}.*"))


def test_an_array_comes_back_as_float16_and_may_be_written_to(cache):
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    assert not cache.has(KEY)
    assert cache.load(KEY) is None
    assert cache.store(KEY, array)
    assert cache.has(KEY)
    found = cache.load(KEY)
    np.testing.assert_array_equal(found, array.astype(np.float16))
    found[0] = 1


@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 0, 3), (1, 2, 3, 4, 5)])
def test_arrays_of_every_shape_come_back(shape, cache):
    array = np.arange(np.prod(shape), dtype=np.float16).reshape(shape)
    cache.store(KEY, array)
    assert cache.load(KEY).shape == shape
    np.testing.assert_array_equal(cache.load(KEY), array)
    fortran = np.asfortranarray(array)
    cache.store(KEY, fortran)
    np.testing.assert_array_equal(cache.load(KEY), array)


@pytest.mark.parametrize("length", [0, 1, 11, 27, 28, 31, 33, 128, -1])
def test_a_short_entry_is_noticed_and_removed(length, cache, tmp_path):
    cache.store(KEY, np.ones((3, 4)))
    path = entry(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    assert cache.load(KEY) is None
    assert not cache.has(KEY)


@pytest.mark.parametrize("place", [0, 5, 60, 130, -40, -1])
def test_one_wrong_byte_is_noticed_and_the_entry_removed(place, cache, tmp_path):
    cache.store(KEY, np.ones((3, 4)))
    path = entry(tmp_path)
    content = bytearray(path.read_bytes())
    content[place] ^= 0x01
    path.write_bytes(content)
    assert cache.load(KEY) is None
    assert not path.exists()


def test_an_entry_under_another_name_is_noticed(cache, tmp_path):
    other = entry_key("another scan", "preprocessing")
    cache.store(KEY, np.ones((3, 4)))
    cache.store(other, np.zeros((3, 4)))
    entry(tmp_path).replace(entry(tmp_path, other))
    assert cache.load(other) is None


def test_an_interrupted_write_leaves_no_file(cache, tmp_path, monkeypatch):
    cache.store(KEY, np.ones(3))

    def interrupted(self, content):
        with self.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.write_bytes", interrupted)
    other = entry_key("other")
    for key in (KEY, other):
        with pytest.raises(KeyboardInterrupt):
            cache.store(key, np.zeros(3))
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files == [entry(tmp_path)]
    np.testing.assert_array_equal(cache.load(KEY), np.ones(3))


def test_a_disk_that_takes_nothing_is_told_in_words(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot be written"):
        ArrayCache(tmp_path / "cache").store(KEY, np.ones(3))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_float16_cannot_hold_is_refused(value, cache):
    with pytest.raises(ValueError, match="float16"):
        cache.store(KEY, np.array([value]))


def test_keys_depend_on_every_part_and_their_borders():
    assert len({entry_key("a", "b"), entry_key("ab", ""), entry_key("a"), entry_key("b", "a")}) == 4


def test_a_record_is_kept_whole_or_counts_as_missing(cache, tmp_path):
    assert cache.load_record("index") is None
    cache.store_record("index", b"{}")
    assert cache.load_record("index") == b"{}"
    path = next((tmp_path / "cache").glob("index*"))
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.load_record("index") is None


def test_an_encrypted_entry_shows_nothing_and_never_looks_the_same_twice(tmp_path):
    cache = ArrayCache(tmp_path / "cache", Sealed(b"k" * 32))
    array = np.zeros(1000, np.float16)
    contents = set()
    for _ in range(3):
        cache.store(KEY, array)
        contents.add(entry(tmp_path).read_bytes())
    assert len(contents) == 3
    for content in contents:
        assert b"NUMPY" not in content
        assert np.bincount(np.frombuffer(content, np.uint8), minlength=256).max() < 40


def test_reading_says_at_most_once_an_hour_that_an_entry_is_in_use(cache, tmp_path):
    cache.store(KEY, np.ones(3))
    for age_s, is_touched in ((TOUCH_EVERY_S - 60, False), (TOUCH_EVERY_S + 60, True),
                              (-TOUCH_EVERY_S - 60, True)):
        then = time.time() - age_s
        os.utime(entry(tmp_path), (then, then))
        cache.load(KEY)
        moved = entry(tmp_path).stat().st_mtime - then
        assert (abs(moved) > 1) == is_touched


def test_what_has_no_room_is_not_kept_and_that_is_said(tmp_path):
    cache = ArrayCache(tmp_path / "cache", limit_bytes=2000)
    assert cache.store(KEY, np.ones(500))
    assert cache.has_room(500)
    assert not cache.has_room(1000)
    second = entry_key("second")
    assert not cache.store(second, np.ones(500))
    assert not cache.has(second)
    assert cache.num_bytes() == entry(tmp_path).stat().st_size <= 2000
    assert ArrayCache(tmp_path / "other").has_room(10**15)
