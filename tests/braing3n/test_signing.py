import copy
import os
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from braing3n.errors import ConfigError, ProtocolError
from braing3n.files import digest_bytes
from braing3n.signing import PublicKey, SigningKey, load_public_key, open_key

# RFC 8032, section 7.1, test 2.
SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = ("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
             "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")


def rfc_key() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET)))


def test_signatures_are_those_of_the_standard() -> None:
    key = rfc_key()
    assert key.sign(b"\x72") == SIGNATURE
    assert key.public.text == f"ed25519:{PUBLIC}"
    assert key.public.key_id == digest_bytes(bytes.fromhex(PUBLIC))
    assert PublicKey.from_text(key.public.text).verify(b"\x72", SIGNATURE)


@given(st.binary(max_size=64), st.integers(0, 127), st.sampled_from("0123456789abcdef"))
def test_a_signature_is_of_one_key_and_one_content_in_one_way(
    content: bytes, place: int, digit: str,
) -> None:
    key, other = rfc_key(), SigningKey(Ed25519PrivateKey.generate())
    signature = key.sign(content)
    changed = signature[:place] + digit + signature[place + 1:]
    assert key.public.verify(content, signature)
    assert key.public.verify(content, changed) == (changed == signature)
    assert not key.public.verify(content + b"\0", signature)
    assert not other.public.verify(content, signature)
    upper = signature.upper()
    assert upper == signature or not key.public.verify(content, upper)


@given(st.text(max_size=140))
def test_any_text_is_no_signature_and_no_key(text: str) -> None:
    assert not rfc_key().public.verify(b"", text)
    with pytest.raises(ProtocolError):
        PublicKey.from_text(text)


def test_a_key_is_made_once_and_then_read(tmp_path: Path) -> None:
    first = open_key(tmp_path / "a.key", tmp_path / "a.pub")
    again = open_key(tmp_path / "a.key", tmp_path / "a.pub")
    assert again.public == first.public == load_public_key(tmp_path / "a.pub")
    assert first.public.verify(b"x", again.sign(b"x"))
    assert (tmp_path / "a.pub").read_text() == first.public.text + "\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.key", "a.pub"]
    assert open_key(tmp_path / "b.key").public != first.public


def test_a_secret_key_is_its_owners_alone_from_its_first_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    modes: dict[str, int] = {}
    real = os.open

    def watched(path, flags, *rest, **more):
        descriptor = real(path, flags, *rest, **more)
        if str(path).endswith(".key"):
            modes[Path(path).name] = stat.S_IMODE(os.fstat(descriptor).st_mode)
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        open_key(tmp_path / "a.key")
    finally:
        os.umask(before)
    assert len(modes) == 1  # the temporary file, made with its mode
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o601, 0o644, 0o666])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    open_key(tmp_path / "a.key")
    (tmp_path / "a.key").chmod(mode)
    with pytest.raises(ConfigError, match="open to others") as error:
        open_key(tmp_path / "a.key")
    assert error.value.found == f"mode {mode:04o}"
    for good in (0o600, 0o400):
        (tmp_path / "a.key").chmod(good)
        open_key(tmp_path / "a.key")


def pem(key: object, encryption: object = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize("content", [
    b"", b"nothing", b"\xff\x00" * 50,
    pem(generate_private_key(SECP256R1())),
    pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"password")),
    pem(Ed25519PrivateKey.generate())[:-40],
], ids=["empty", "text", "bytes", "another kind", "encrypted", "cut"])
def test_what_is_no_ed25519_key_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no key"):
        open_key(path)
    assert path.read_bytes() == content


def test_a_public_key_of_another_secret_key_is_refused(tmp_path: Path) -> None:
    open_key(tmp_path / "a.key", tmp_path / "a.pub")
    open_key(tmp_path / "b.key", tmp_path / "b.pub")
    with pytest.raises(ConfigError, match="is not of the secret key"):
        open_key(tmp_path / "b.key", tmp_path / "a.pub")


@pytest.mark.parametrize("content", [
    b"", b"ed25519:00\n", b"\xff" * 72, b"ed25519:" + b"0" * 64 + b"\n\n"])
def test_a_damaged_public_key_is_refused(tmp_path: Path, content: bytes) -> None:
    open_key(tmp_path / "a.key", tmp_path / "a.pub")
    (tmp_path / "a.pub").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no public key"):
        open_key(tmp_path / "a.key", tmp_path / "a.pub")


def test_keys_that_cannot_be_read_or_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be read"):
        open_key(tmp_path / "folder")
    with pytest.raises(ConfigError, match="no key can be written"):
        open_key(tmp_path / "file" / "a.key")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_public_key(tmp_path / "none.pub")


def test_a_secret_is_in_no_text_and_in_no_copy(tmp_path: Path) -> None:
    key = open_key(tmp_path / "a.key")
    content = (tmp_path / "a.key").read_text()
    body = content.splitlines()[1]
    assert repr(key) == f"SigningKey({key.public.key_id})"
    assert body not in repr(vars(key))
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert copy.copy(key).public == key.public
    # A key with a letter too many: what is said of it must not say what it is.
    (tmp_path / "a.key").write_text(content.replace(body, body[:-4]))
    with pytest.raises(ConfigError) as error:
        open_key(tmp_path / "a.key")
    assert body[20:40] not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__context__ is None
