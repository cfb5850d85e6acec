"""How an entry of the cache lies on the disk: open with a checksum, or encrypted."""

import os
import secrets
import zlib
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from braing3n.errors import ConfigError
from braing3n.files import replacing
from braing3n.secret_files import read_secret

KEY_BYTES = 32
CHECK_NAME = "key-check"

_CRC_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Envelope(Protocol):
    """A way to keep bytes so that damage, and another name's bytes, are noticed."""

    suffix: str

    def wrap(self, name: str, body: bytes) -> bytes:
        """Return what to write under `name`."""
        ...

    def unwrap(self, name: str, content: bytearray) -> memoryview | None:
        """Return the body, writable; None where `content` is not what was written as `name`."""
        ...


class Checked:
    """The bytes as they are, and a CRC-32 of their name and of them.

    That finds damage, with one chance in 2³² to miss it; who can write there can also mend it, as
    with any checksum. A sha256 would take longer than all the rest of reading a small volume.
    """

    suffix = ".plain"

    def wrap(self, name: str, body: bytes) -> bytes:
        """Return the body and its checksum."""
        return body + self._checksum(name, body)

    def unwrap(self, name: str, content: bytearray) -> memoryview | None:
        """Return the body, if the checksum is right."""
        body, checksum = memoryview(content)[:-_CRC_BYTES], content[-_CRC_BYTES:]
        return body if checksum == self._checksum(name, body) else None

    @staticmethod
    def _checksum(name: str, body: bytes | memoryview) -> bytes:
        return zlib.crc32(body, zlib.crc32(name.encode())).to_bytes(_CRC_BYTES, "big")


class Sealed:
    """AES-256-GCM with a random nonce for each writing, bound to the name.

    Random nonces of 96 bits are good for 2³² writings with one key (NIST SP 800-38D, 8.3).

    Args:
        key: 32 bytes.
    """

    suffix = ".sealed"

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def wrap(self, name: str, body: bytes) -> bytes:
        """Return the nonce, the encrypted body and its tag."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, body, name.encode())

    def unwrap(self, name: str, content: bytearray) -> memoryview | None:
        """Return the body, if it was encrypted with this key under this name."""
        body = bytearray(max(0, len(content) - _NONCE_BYTES - _TAG_BYTES))
        nonce, sealed = content[:_NONCE_BYTES], memoryview(content)[_NONCE_BYTES:]
        if len(sealed) < _TAG_BYTES:
            return None
        try:
            self._cipher.decrypt_into(nonce, sealed, name.encode(), body)
        except InvalidTag:
            return None
        return memoryview(body)


def open_envelope(folder: Path, key_file: Path | None) -> Envelope:
    """Return how a cache's folder is written, after checking that it was written so before.

    An encrypted folder holds a known text, encrypted with its key: so that a wrong key is a
    mistake to be told, and not a reason to make every entry again.

    Args:
        folder: The cache's folder.
        key_file: The key to encrypt with; None leaves entries open.

    Raises:
        ConfigError: The key file is unusable, the cache was made with another key, or it is
            encrypted and shall not be, or the reverse.
    """
    check = folder / CHECK_NAME
    if key_file is None:
        if check.exists():
            raise ConfigError(f"the cache in {folder} is encrypted", expected="`cache: encrypt: true`",
                              found="`encrypt: false`, which would write scans beside it unencrypted",
                              fix="set it and name the key file; or remove that folder: it is made "
                                  "again")
        return Checked()
    sealed = Sealed(load_key(key_file))
    if not check.exists():
        _begin_sealed(folder, sealed)
    elif sealed.unwrap(CHECK_NAME, bytearray(check.read_bytes())) is None:
        raise ConfigError(f"{key_file} is not the key of the cache in {folder}",
                          expected="the key that the cache was made with",
                          found=f"another key, or a damaged {check}",
                          fix="name the right key file; if it is lost, remove that folder: it is "
                              "made again")
    return sealed


def _begin_sealed(folder: Path, sealed: Sealed) -> None:
    """Mark an empty folder as encrypted."""
    inside = [path.name for path in folder.glob("[!.]*")]
    if inside:
        raise ConfigError(f"the cache in {folder} is not encrypted",
                          expected="an encrypted cache, as `cache: encrypt: true` says, or none",
                          found=f"entries without a {CHECK_NAME} beside them",
                          fix="remove that folder: it is made again, encrypted. Deleting does not "
                              "wipe a disk")
    with replacing(folder / CHECK_NAME) as part:
        part.write_bytes(sealed.wrap(CHECK_NAME, b"braing3n cache"))


def write_key(path: Path) -> None:
    """Write a new random key as hexadecimal digits, readable by its owner alone.

    Raises:
        ConfigError: Something is at `path`, or it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise ConfigError(f"no key can be written to {path}", expected="a path where nothing is yet",
                          found=error.strerror or type(error).__name__,
                          fix="choose another path; a key that is in use is never overwritten"
                          ) from error


def load_key(path: Path) -> bytes:
    """Read the 32 bytes of a key file.

    Raises:
        ConfigError: It is not there, others may read or write it, or it holds no key.
    """
    try:
        text = read_secret(path, 2 * KEY_BYTES + 3)
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read", expected="a key file",
                          found=error.strerror or type(error).__name__,
                          fix="correct `cache: key_file:`, or make one with `braing3n site "
                              "cache-key FILE`") from error
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} holds no key", expected=f"{2 * KEY_BYTES} hexadecimal digits",
                          found="other content", fix="make one with `braing3n site cache-key FILE`")
    return key
