import numpy as np
import pytest

from braing3n.data.cache import ArrayCache, entry_key


@pytest.fixture
def cache(tmp_path):
    return ArrayCache(tmp_path / "cache")


KEY = entry_key("scan", "preprocessing")


def test_an_array_comes_back_as_float16(cache):
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    assert not cache.has(KEY)
    assert cache.load(KEY) is None
    cache.store(KEY, array)
    assert cache.has(KEY)
    np.testing.assert_array_equal(cache.load(KEY), array.astype(np.float16))


def test_a_short_entry_counts_as_missing(cache, tmp_path):
    cache.store(KEY, np.ones((3, 4)))
    path = next((tmp_path / "cache").rglob("*.npy"))
    path.write_bytes(path.read_bytes()[:-1])
    assert not cache.has(KEY)
    assert cache.load(KEY) is None


@pytest.mark.parametrize("place", [0, 5, 60, 130, -40, -1])
def test_one_wrong_byte_is_noticed_and_the_entry_removed(place, cache, tmp_path):
    cache.store(KEY, np.ones((3, 4)))
    path = next((tmp_path / "cache").rglob("*.npy"))
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    assert cache.load(KEY) is None
    assert not path.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_float16_cannot_hold_is_refused(value, cache):
    with pytest.raises(ValueError, match="float16"):
        cache.store(KEY, np.array([value]))


def test_keys_depend_on_every_part_and_their_borders():
    assert len({entry_key("a", "b"), entry_key("ab", ""), entry_key("a"), entry_key("b", "a")}) == 4
