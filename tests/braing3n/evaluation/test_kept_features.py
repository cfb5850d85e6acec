from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from braing3n.data.cache import ArrayCache
from braing3n.data.envelope import open_envelope
from braing3n.evaluation.kept_features import kept_features
from braing3n.files import write_text


class Volumes:
    """Stands for a roster: keys, and features that count how often they were made."""

    def __init__(self, *keys: str) -> None:
        self.rows = [SimpleNamespace(example=SimpleNamespace(key=key)) for key in keys]
        self.made = 0

    def features(self, encoder: object, progress: object) -> np.ndarray:
        self.made += 1
        return np.float32(np.arange(3 * len(self.rows))).reshape(-1, 3).astype(float) / 7


@pytest.fixture(params=["checked", "encrypted"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> ArrayCache:
    folder = tmp_path / "cache"
    if request.param == "checked":
        return ArrayCache(folder)
    key = tmp_path / "key"
    write_text(key, "ab" * 32 + "\n")
    key.chmod(0o600)
    return ArrayCache(folder, open_envelope(folder, key))


def test_volumes_are_embedded_once_for_an_encoder(cache: ArrayCache) -> None:
    volumes = Volumes("k1", "k2")
    first = kept_features(cache, volumes, "e" * 64, lambda: None)
    again = kept_features(cache, volumes, "e" * 64, pytest.fail)
    assert volumes.made == 1
    np.testing.assert_array_equal(np.float32(first), again)
    assert again.dtype == np.float64


@pytest.mark.parametrize(("keys", "encoder"), [
    (("k1", "k2"), "f"), (("k2", "k1"), "e"), (("k1",), "e"), (("k1", "k2", "k3"), "e")])
def test_another_encoder_or_other_volumes_are_embedded_anew(
    keys: tuple[str, ...], encoder: str, cache: ArrayCache
) -> None:
    kept_features(cache, Volumes("k1", "k2"), "e" * 64, lambda: None)
    others = Volumes(*keys)
    assert kept_features(cache, others, encoder * 64, lambda: None).shape == (len(keys), 3)
    assert others.made == 1


def test_what_is_damaged_is_made_again(cache: ArrayCache, tmp_path: Path) -> None:
    volumes = Volumes("k1")
    kept_features(cache, volumes, "e" * 64, lambda: None)
    path = next(path for path in (tmp_path / "cache").iterdir() if "probe-features" in path.name)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    kept_features(cache, volumes, "e" * 64, lambda: None)
    assert volumes.made == 2
