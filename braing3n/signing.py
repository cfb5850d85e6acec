"""Ed25519 keys: who wrote a ledger, and who gave a receipt.

Ed25519: Bernstein et al. 2011, https://ed25519.cr.yp.to, as in RFC 8032.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from braing3n.errors import ConfigError, ProtocolError
from braing3n.files import digest_bytes, write_text
from braing3n.secret_files import no_room, read_secret, write_secret

_PUBLIC_TEXT = re.compile(r"ed25519:([0-9a-f]{64})")
# Hexadecimal, as a signature in base64 can be written in several ways.
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_MAX_KEY_FILE_BYTES = 4096


@dataclass(frozen=True)
class PublicKey:
    """The half of a key that everybody may have.

    Attributes:
        raw: Its 32 bytes.
    """

    raw: bytes

    @classmethod
    def from_text(cls, text: str) -> "PublicKey":
        """Read what `text` writes.

        Raises:
            ProtocolError: It is something else.
        """
        match = _PUBLIC_TEXT.fullmatch(text)
        if match is None:
            raise ProtocolError("a public key cannot be read",
                                expected="`ed25519:` and 64 lower-case hexadecimal digits",
                                found=f"{len(text)} other characters",
                                fix="copy the line of the ledger.pub that belongs to it")
        return cls(bytes.fromhex(match[1]))

    @property
    def text(self) -> str:
        """One line that stands for the key."""
        return f"ed25519:{self.raw.hex()}"

    @cached_property
    def key_id(self) -> str:
        """The sha256 of its bytes, in full: nobody has to think of collisions of a shorter one."""
        return digest_bytes(self.raw)

    def verify(self, content: bytes, signature: str) -> bool:
        """Tell whether `signature` is this key's for `content`; False for any other text."""
        if _SIGNATURE.fullmatch(signature) is None:
            return False
        try:
            self._key.verify(bytes.fromhex(signature), content)
        except InvalidSignature:
            return False
        return True

    @cached_property
    def _key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.raw)


class SigningKey:
    """A key's secret half; nothing but signatures and the public half comes out of it.

    Attributes:
        public: The public half.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def __repr__(self) -> str:
        return f"SigningKey({self.public.key_id})"

    def sign(self, content: bytes) -> str:
        """Return the signature of `content`, as 128 hexadecimal digits."""
        return self._key.sign(content).hex()

    def publish(self, path: Path) -> None:
        """Write the public key's file where it is missing, and check that it is this key's.

        Raises:
            ConfigError: It is another key's, or it cannot be read or written.
        """
        try:
            if not path.exists():
                write_text(path, self.public.text + "\n")
        except OSError as error:
            raise _unwritable(path, error) from error
        if load_public_key(path) != self.public:
            raise ConfigError(f"{path} is not of the secret key beside it", found="another public key",
                              expected=self.public.text, fix="restore the key that the file belongs "
                              "to; who has receipts knows which")


def open_key(path: Path, public_path: Path | None = None) -> SigningKey:
    """Return the key in a file, and make it where there is none.

    A new key is on the disk before this returns, and readable by its owner alone from its first
    instant. One process at a time may do this: whoever calls holds a lock on the folder.

    Args:
        path: The secret key, as PEM (PKCS 8).
        public_path: The public key's line, written where it is missing; None leaves it alone.

    Raises:
        ConfigError: The key cannot be read or written, others may read it, it is no Ed25519 key,
            or the public key beside it is another one's.
    """
    if not path.exists():
        _write_new(path)
    key = SigningKey(_load(path))
    if public_path is not None:
        key.publish(public_path)
    return key


def load_public_key(path: Path) -> PublicKey:
    """Read a public key's file.

    Raises:
        ConfigError: It cannot be read, or it holds something else.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_KEY_FILE_BYTES).decode("ascii", errors="replace")
        return PublicKey.from_text(text.removesuffix("\n"))
    except OSError as error:
        raise _unreadable(path, error) from error
    except ProtocolError as error:
        raise ConfigError(f"{path} holds no public key", expected=error.expected, found=error.found,
                          fix="restore it; it is made again from the secret key where it is missing"
                          ) from error


def read_pem(content: bytes) -> PrivateKeyTypes | None:
    """Return the secret key in a PEM that is not encrypted; None for anything else.

    No error is raised, so that no text of a parser that has seen the secret gets on.
    """
    try:
        return load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _write_new(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        write_secret(path, pem)
    except OSError as error:
        raise _unwritable(path, error) from error


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = read_pem(read_secret(path, _MAX_KEY_FILE_BYTES))
    except OSError as error:
        raise _unreadable(path, error) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no key", expected="an Ed25519 key as PEM, not encrypted",
                          found="other content", fix="restore it from a backup")
    return key


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"the key file {path} cannot be read", expected="a file that can be read",
                       found=error.strerror or type(error).__name__,
                       fix="correct its place or its permissions")


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return no_room(f"no key can be written to {path}", error)
