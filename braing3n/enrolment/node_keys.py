"""The key by which a SuperNode shows who it is: EC P-384, in OpenSSH's format, as Flower reads it."""

from pathlib import Path
from typing import Annotated

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)
from pydantic import AfterValidator, Field

from braing3n.enrolment.private_files import read_private, write_private
from braing3n.errors import ConfigError


def write_node_key(path: Path) -> None:
    """Make a new key and write it, for its owner alone.

    Raises:
        ConfigError: It cannot be written.
    """
    write_private(path, generate_private_key(SECP384R1()).private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


def load_node_key(path: Path) -> EllipticCurvePrivateKey:
    """Read a key.

    Raises:
        ConfigError: It is not there, others may read it, or it is none.
    """
    content = read_private(path)
    try:
        key = load_ssh_private_key(content, password=None)
    except (ValueError, TypeError, NotImplementedError, UnsupportedAlgorithm):
        key = None  # raised below, so that no text of a parser that has seen the secret gets on
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP384R1):
        raise ConfigError(f"{path} holds no key of a SuperNode", found="other content",
                          expected="an EC key on P-384 in OpenSSH's format, not encrypted",
                          fix="restore it from a backup, or move it away and make a new one: "
                          "docs/network.md, When a key is lost")
    return key


def node_key_text(key: EllipticCurvePublicKey) -> str:
    """Return the line that stands for a public key."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def prove(key: EllipticCurvePrivateKey, content: bytes) -> str:
    """Return what only who has the key can make of `content`: an ECDSA signature (hexadecimal)."""
    return key.sign(content, ECDSA(SHA384())).hex()


def is_proof(key: str, content: bytes, proof: str) -> bool:
    """Tell whether `proof` was made of `content` by the key whose public line is `key`."""
    try:
        _load_public(key).verify(bytes.fromhex(proof), content, ECDSA(SHA384()))
    except InvalidSignature:
        return False
    return True


def _load_public(text: str) -> EllipticCurvePublicKey:
    try:
        key = load_ssh_public_key(text.encode("ascii"))
    except (UnsupportedAlgorithm, NotImplementedError) as error:  # the latter for compressed points
        raise ValueError("a public key of a SuperNode") from error
    if not isinstance(key, EllipticCurvePublicKey) or node_key_text(key) != text:
        raise ValueError("a public key of a SuperNode, written in the one way")
    return key


def _checked(text: str) -> str:
    _load_public(text)
    return text


NodeKey = Annotated[str, Field(pattern=r"^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+$", max_length=256),
                    AfterValidator(_checked)]
Proof = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$", max_length=220)]
