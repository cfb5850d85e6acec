"""A consortium's own certificate authority: one CA, one server certificate, and how long they hold.

EC keys on P-384, as X.509 v3 (RFC 5280). Sites trust this CA alone, for this server alone.
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from braing3n.errors import ConfigError, ProtocolError
from braing3n.moments import to_text

Kind = TypeVar("Kind", bound=x509.ExtensionType)

AUTHORITY_DAYS = 3650
WARN_DAYS = 30
# A certificate holds from a little before it is made, as the clocks of sites may be behind.
_EARLIER = timedelta(hours=1)
_USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")


def new_key() -> EllipticCurvePrivateKey:
    """Return a new key for a certificate."""
    return generate_private_key(SECP384R1())


def make_authority(consortium: str, key: EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return a CA's certificate, which it signs itself and which holds for ten years."""
    name = _named(f"{consortium} authority")
    public = key.public_key()
    return (_begun(name, name, public, now, now + timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key, SHA384()))


def make_server_certificate(
    authority: x509.Certificate, authority_key: EllipticCurvePrivateKey,
    public: EllipticCurvePublicKey, names: Sequence[str], days: int, now: datetime,
) -> x509.Certificate:
    """Return a server's certificate by a CA; it ends with the CA's at the latest.

    Args:
        authority: The CA's certificate.
        authority_key: Its key.
        public: The server's key.
        names: The DNS names and IP addresses that sites reach the server by.
        days: How long it is to hold.
        now: What time it is.

    Raises:
        ConfigError: The CA's certificate does not hold now.
    """
    check_current(authority, "the CA's certificate", now)
    end = min(now + timedelta(days=days), authority.not_valid_after_utc)
    issuer = _extension(authority, x509.SubjectKeyIdentifier)
    return (_begun(_named("server"), authority.subject, public, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]),
                           critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer),
                           critical=False)
            .sign(authority_key, SHA384()))


def to_pem(certificate: x509.Certificate) -> str:
    """Return the text that stands for a certificate."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def load_certificate(pem: str, what: str) -> x509.Certificate:
    """Read what `to_pem` wrote.

    Args:
        pem: The text.
        what: What it should be, for the message.

    Raises:
        ProtocolError: It is no certificate, several, or one written in another way.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
        if to_pem(certificate) == pem:
            return certificate
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        pass  # told below, in one way
    raise ProtocolError(f"{what} cannot be read", expected="one certificate as PEM",
                        found="other content", fix="ask the coordinator for the file again")


def check_authority(certificate: x509.Certificate, now: datetime) -> None:
    """Check that a certificate is a CA's of a consortium, by itself, and holds now.

    Raises:
        ProtocolError: It is another one's, or by another.
        ConfigError: It does not hold now.
    """
    try:
        certificate.verify_directly_issued_by(certificate)
        limits = _extension(certificate, x509.BasicConstraints)
        is_ca = limits.ca and limits.path_length == 0
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound,
            x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        is_ca = False
    if not is_ca:
        raise ProtocolError("this is no certificate of a consortium's CA",
                            expected="a CA's that it signed itself and that signs servers alone",
                            found="another certificate", fix="ask the coordinator for the file again")
    check_current(certificate, "the CA's certificate", now)


def check_current(certificate: x509.Certificate, what: str, now: datetime) -> None:
    """Check that a certificate holds now.

    Raises:
        ConfigError: It has expired, or begins later: then a clock is wrong.
    """
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    expected = f"a time between {to_text(begin)} and {to_text(end)}"
    if now < begin:
        raise ConfigError(f"{what} does not hold yet", expected=expected,
                          found=f"{to_text(now)} on this machine",
                          fix="set the clock of this machine, or of the one that made it (NTP)")
    if now >= end:
        raise ConfigError(f"{what} has expired", expected=expected,
                          found=f"{to_text(now)} on this machine",
                          fix="see docs/network.md, When a certificate expires; if that time is wrong, "
                          "set the clock (NTP)")


def days_left(certificate: x509.Certificate, now: datetime) -> int:
    """Return for how many whole days a certificate still holds; below 0 after its end."""
    return (certificate.not_valid_after_utc - now).days


def validity_line(certificate: x509.Certificate, what: str, now: datetime, fix: str) -> str:
    """Return how long a certificate holds; a warning where that is less than 30 days."""
    days, end = days_left(certificate, now), certificate.not_valid_after_utc
    if now >= end:
        return f"warning: {what} has expired, on {to_text(end)}: {fix}"
    line = f"{what} holds for {days} days, until {to_text(end)}"
    return f"warning: {line}: {fix}" if days < WARN_DAYS else line


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the names and addresses that a server's certificate is for."""
    found = _extension(certificate, x509.SubjectAlternativeName)
    return tuple(str(name.value) for name in found)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(
    subject: x509.Name, issuer: x509.Name, public: EllipticCurvePublicKey, now: datetime, end: datetime,
) -> x509.CertificateBuilder:
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before((now - _EARLIER).astimezone(UTC)).not_valid_after(end.astimezone(UTC)))


def _usage(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})


def _extension(certificate: x509.Certificate, kind: type[Kind]) -> Kind:
    return certificate.extensions.get_extension_for_class(kind).value
