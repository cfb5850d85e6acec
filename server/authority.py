"""What `braing3n server init` makes, and the server's certificate when it is made anew."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from braing3n.enrolment.certificates import (
    load_certificate,
    make_authority,
    make_server_certificate,
    names_of,
    new_key,
    to_pem,
)
from braing3n.enrolment.private_files import (
    is_there,
    read_private,
    unwritable,
    write_private,
)
from braing3n.enrolment.roster import begin_roster
from braing3n.errors import ConfigError
from braing3n.signing import open_key, read_pem
from server.consortium import ConsortiumConfig


def initialise(config: ConsortiumConfig, now: datetime) -> None:
    """Make the coordinator's folder with all that is in it, or nothing.

    Raises:
        ConfigError: Something is there, or it cannot be written.
    """
    _check_new(config.state_dir)
    with _at_once(config.state_dir) as part:
        made = config.model_copy(update={"state_dir": part})
        key = new_key()
        authority = make_authority(config.name, key, now)
        write_private(made.ca_key, _pem(key))
        write_private(made.ca_certificate, to_pem(authority).encode())
        _write_server_certificate(made, authority, key, now)
        write_private(made.superexec_secret, secrets.token_hex(32).encode())
        coordinator = open_key(made.coordinator_key, made.coordinator_public)
        roster = begin_roster(config.name, digest_of(authority), coordinator, now)
        write_private(made.roster, b"".join(line + b"\n" for line in roster.lines))


def renew_server_certificate(config: ConsortiumConfig, now: datetime) -> x509.Certificate:
    """Make a new server certificate by the same CA, for the names in the settings, and return it.

    The server keeps its key; where that is gone, it gets a new one.

    Raises:
        ConfigError: The CA's key or certificate is damaged, it has expired, or nothing can be written.
    """
    authority = load_authority(config)
    key = _load_key(config.ca_key)
    if key.public_key() != authority.public_key():
        raise ConfigError(f"{config.ca_key} is not the key of {config.ca_certificate}",
                          expected="the key that the certificate was made with", found="another",
                          fix="restore both from one backup")
    return _write_server_certificate(config, authority, key, now)


def load_authority(config: ConsortiumConfig) -> x509.Certificate:
    """Read the CA's certificate.

    Raises:
        ConfigError: It cannot be read.
        ProtocolError: It is none.
    """
    return _load_certificate(config.ca_certificate)


def load_server_certificate(config: ConsortiumConfig) -> x509.Certificate:
    """Read the server's certificate, and check that it is for the names in the settings.

    Raises:
        ConfigError: It cannot be read, or is for other names.
        ProtocolError: It is none.
    """
    if not is_there(config.server_certificate):
        raise ConfigError("the server has no certificate", expected=f"{config.server_certificate}",
                          found="nothing", fix="run `braing3n server renew`")
    certificate = _load_certificate(config.server_certificate)
    if set(names_of(certificate)) != set(config.names):
        raise ConfigError("the server's certificate is for other names",
                          expected=f"`names:` {', '.join(config.names)}",
                          found=", ".join(names_of(certificate)),
                          fix="run `braing3n server renew`, then `server answer` for each site")
    return certificate


def digest_of(certificate: x509.Certificate) -> str:
    """Return the sha256 of a certificate."""
    return certificate.fingerprint(SHA256()).hex()


def _write_server_certificate(
    config: ConsortiumConfig, authority: x509.Certificate, authority_key: EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    if not is_there(config.server_key):
        write_private(config.server_key, _pem(new_key()))
    public = _load_key(config.server_key).public_key()
    made = make_server_certificate(authority, authority_key, public, config.names, config.valid_days,
                                   now)
    write_private(config.server_certificate, to_pem(made).encode())
    return made


def _check_new(folder: Path) -> None:
    if not is_there(folder):
        return
    is_folder = folder.is_dir() and not folder.is_symlink()
    try:
        there = sorted(one.name for one in folder.iterdir()) if is_folder else []
    except OSError as error:
        raise unwritable(folder, error) from error
    if there or not is_folder:
        raise ConfigError(f"{folder} is taken", expected="a folder that is new or empty",
                          found=", ".join(there) if there else "a file or a link",
                          fix="nothing is overwritten: for a new server certificate run `braing3n "
                          "server renew`; for another consortium name another `state_dir:`")


@contextmanager
def _at_once(folder: Path) -> Iterator[Path]:
    """Give a new folder, for its owner alone, that becomes `folder` if all goes well."""
    part = folder.with_name(f".{uuid4().hex}.{folder.name}")
    try:
        part.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield part
        try:
            part.rename(folder)
            above = os.open(folder.parent, os.O_RDONLY)
            try:
                os.fsync(above)  # a power cut must not take the folder: sites may have its words
            finally:
                os.close(above)
        except OSError as error:  # another one was quicker, or it is a disk of its own
            raise ConfigError(f"{folder} cannot be made", expected="a folder that is new or empty",
                              found=error.strerror or type(error).__name__,
                              fix="if a disk or volume is mounted there, name a folder in it"
                              ) from error
    finally:
        rmtree(part, ignore_errors=True)


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(path: Path) -> EllipticCurvePrivateKey:
    key = read_pem(read_private(path))
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ConfigError(f"{path} holds no key", expected="an EC key as PEM, not encrypted",
                          found="other content", fix="restore it from a backup")
    return key


def _load_certificate(path: Path) -> x509.Certificate:
    return load_certificate(read_private(path).decode("ascii", errors="replace"), str(path))
