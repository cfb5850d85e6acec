import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.envelope import (
    CHECK_NAME,
    Checked,
    Sealed,
    load_key,
    open_envelope,
    write_key,
)
from braing3n.errors import ConfigError

ENVELOPES = [Checked(), Sealed(bytes(range(32)))]
NAMES = st.text("0123456789abcdef-", min_size=1, max_size=64)


@pytest.mark.parametrize("envelope", ENVELOPES)
@given(name=NAMES, body=st.binary(max_size=200))
def test_what_was_wrapped_is_unwrapped(envelope, name, body):
    assert envelope.unwrap(name, bytearray(envelope.wrap(name, body))) == body


@pytest.mark.parametrize("envelope", ENVELOPES)
@given(name=NAMES, body=st.binary(max_size=50), data=st.data())
def test_any_change_is_noticed(envelope, name, body, data):
    content = bytearray(envelope.wrap(name, body))
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert envelope.unwrap(name, changed) is None
    assert envelope.unwrap(name, content[:place]) is None
    assert envelope.unwrap(name, content + b"x") is None
    assert envelope.unwrap(name + "0", content) is None


@given(junk=st.binary(max_size=100))
def test_junk_is_no_entry(junk):
    assert all(envelope.unwrap("name", bytearray(junk)) is None for envelope in ENVELOPES)


def test_another_key_opens_nothing():
    content = bytearray(Sealed(b"a" * 32).wrap("name", b"body"))
    assert Sealed(b"b" * 32).unwrap("name", content) is None


def test_a_key_file_is_random_for_its_owner_alone_and_never_overwritten(tmp_path):
    paths = [tmp_path / "keys" / name for name in ("a", "b")]
    for path in paths:
        write_key(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert len(load_key(path)) == 32
    first = paths[0].read_text()
    assert first != paths[1].read_text()
    with pytest.raises(ConfigError, match="no key can be written"):
        write_key(paths[0])
    assert paths[0].read_text() == first


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_key_file_that_others_may_open_is_refused(mode, tmp_path):
    path = tmp_path / "key"
    write_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="open to others"):
        load_key(path)
    path.chmod(0o400)
    assert len(load_key(path)) == 32


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 31 + "é", "00" * 5000])
def test_what_is_no_key_is_refused_and_not_shown(text, tmp_path):
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(ConfigError, match="holds no key") as caught:
        load_key(path)
    assert not text or text not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_key(tmp_path / "absent")


@pytest.fixture
def key_file(tmp_path):
    write_key(tmp_path / "key")
    return tmp_path / "key"


def test_a_wrong_key_is_an_error_before_any_entry_is_lost(tmp_path, key_file):
    folder = tmp_path / "cache"
    content = bytearray(open_envelope(folder, key_file).wrap("name", b"body"))
    assert open_envelope(folder, key_file).unwrap("name", content) == b"body"
    write_key(tmp_path / "other")
    with pytest.raises(ConfigError, match="is not the key of the cache"):
        open_envelope(folder, tmp_path / "other")
    (folder / CHECK_NAME).write_bytes(b"")
    with pytest.raises(ConfigError, match="is not the key of the cache"):
        open_envelope(folder, key_file)


def test_a_cache_is_not_half_encrypted(tmp_path, key_file):
    folder = tmp_path / "cache"
    assert isinstance(open_envelope(folder, None), Checked)
    (folder / "ab").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is not encrypted"):
        open_envelope(folder, key_file)
    (folder / "ab").rmdir()
    assert isinstance(open_envelope(folder, key_file), Sealed)
    with pytest.raises(ConfigError, match="is encrypted"):
        open_envelope(folder, None)
