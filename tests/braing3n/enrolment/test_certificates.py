"""Certificates: held to cryptography's own verifier and to a TLS handshake as Flower makes it."""

import ssl
import textwrap
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import example, given
from hypothesis import strategies as st

from braing3n.enrolment.certificates import (
    check_authority,
    check_current,
    days_left,
    load_certificate,
    make_authority,
    make_server_certificate,
    names_of,
    new_key,
    to_pem,
    validity_line,
)
from braing3n.errors import ConfigError, ProtocolError

NAMES = ("fl.example.org", "localhost", "10.0.0.5", "::1")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def keys():
    return new_key(), new_key()


@pytest.fixture
def made(keys, now):
    authority = make_authority("demo", keys[0], now)
    return authority, make_server_certificate(authority, keys[0], keys[1].public_key(), NAMES, 90, now)


def verify(authority: x509.Certificate, server: x509.Certificate, name: str, at: datetime) -> None:
    subject = (x509.IPAddress(ip_address(name)) if name[0] in "1:" else x509.DNSName(name))
    PolicyBuilder().store(Store([authority])).time(at).build_server_verifier(subject).verify(server, [])


def handshake(authority: x509.Certificate, server: x509.Certificate, key: object, name: str,
              folder: Path) -> None:
    """Shake hands in memory; the client's context is made as in flwr.supercore.protobuf.client."""
    (folder / "server.pem").write_bytes(to_pem(server).encode() + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(folder / "server.pem")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.load_verify_locations(cadata=to_pem(authority))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [theirs.wrap_bio(down, up, server_hostname=name),
             ours.wrap_bio(up, down, server_side=True)]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                pass


@pytest.mark.parametrize("name", NAMES)
def test_the_chain_holds_for_each_name_and_address(made, now, name):
    verify(*made, name, now)
    verify(*made, name, now - timedelta(minutes=30))  # a site whose clock is behind
    assert names_of(made[1]) == NAMES


@pytest.mark.parametrize("name", ["fl.example.com", "example.org", "10.0.0.6"])
def test_the_chain_holds_for_no_other_name(made, now, name):
    with pytest.raises(VerificationError):
        verify(*made, name, now)


def test_the_chain_does_not_hold_after_its_end_before_its_begin_or_by_another_ca(made, keys, now):
    for at in (now + 91 * DAY, now - DAY):
        with pytest.raises(VerificationError):
            verify(*made, "localhost", at)
    another = make_authority("demo", new_key(), now)
    with pytest.raises(VerificationError):
        verify(another, made[1], "localhost", now)
    with pytest.raises(VerificationError):  # of the same name and with the same key
        verify(make_authority("other", keys[0], now), made[1], "localhost", now)


def test_a_server_s_certificate_signs_no_other(made, keys, now):
    authority, server = made
    rogue = make_server_certificate(server, keys[1], new_key().public_key(), ["evil.org"], 90, now)
    verifier = (PolicyBuilder().store(Store([authority])).time(now)
                .build_server_verifier(x509.DNSName("evil.org")))
    with pytest.raises(VerificationError):
        verifier.verify(rogue, [server])
    with pytest.raises(ProtocolError, match="no certificate of a consortium's CA"):
        check_authority(server, now)


@pytest.mark.parametrize("name", ["localhost", "10.0.0.5", "::1"])
def test_tls_as_flower_speaks_it_takes_the_certificate_and_no_other_ca_s(keys, name, tmp_path):
    now = datetime.now(UTC)  # TLS asks the clock
    authority = make_authority("demo", keys[0], now)
    server = make_server_certificate(authority, keys[0], keys[1].public_key(), NAMES, 90, now)
    handshake(authority, server, keys[1], name, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(make_authority("demo", new_key(), now), server, keys[1], name, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, server, keys[1], "other.org", tmp_path)


@pytest.mark.parametrize(("is_own_key", "limits", "is_ca"), [
    (True, x509.BasicConstraints(ca=True, path_length=0), True),
    (False, x509.BasicConstraints(ca=True, path_length=0), False),
    (True, x509.BasicConstraints(ca=True, path_length=None), False),
    (True, x509.BasicConstraints(ca=False, path_length=None), False), (True, None, False)])
def test_a_ca_is_one_that_signed_itself_with_the_key_that_it_names_and_signs_no_ca(
        keys, now, is_own_key, limits, is_ca):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demo authority")])
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
               .public_key((keys[0] if is_own_key else keys[1]).public_key())
               .not_valid_before(now - DAY).not_valid_after(now + DAY))
    if limits is not None:
        builder = builder.add_extension(limits, critical=True)
    certificate = builder.sign(keys[0], SHA384())
    if is_ca:
        check_authority(certificate, now)
        return
    with pytest.raises(ProtocolError, match="no certificate of a consortium's CA"):
        check_authority(certificate, now)


def test_expired_and_clocks_that_are_wrong_are_told_with_both_times(made, now):
    authority, server = made
    with pytest.raises(ConfigError, match="has expired") as error:
        check_current(server, "the server's certificate", now + 90 * DAY)
    assert error.value.found == "2026-05-30T12:00:00Z on this machine"
    assert error.value.expected == "a time between 2026-03-01T11:00:00Z and 2026-05-30T12:00:00Z"
    with pytest.raises(ConfigError, match="does not hold yet") as error:
        check_authority(authority, now - 2 * DAY)
    assert "set the clock" in error.value.fix
    with pytest.raises(ConfigError, match="has expired"):
        check_authority(authority, now + 3650 * DAY)


@pytest.mark.parametrize(("days", "left", "warns"), [(0, 90, False), (60, 30, False), (61, 29, True),
                                                     (89.5, 0, True), (90, 0, True), (92, -2, True)])
def test_a_warning_comes_thirty_days_before_the_end(made, now, days, left, warns):
    at = now + days * DAY
    assert days_left(made[1], at) == left
    line = validity_line(made[1], "it", at, "do this")
    assert line.startswith("warning: ") == warns
    assert ("do this" in line) == warns
    assert ("expired" in line) == (days >= 90)


def test_a_server_s_certificate_ends_with_the_ca_s_and_none_is_made_by_an_expired_ca(keys, now):
    authority = make_authority("demo", keys[0], now)
    late = now + 3600 * DAY
    server = make_server_certificate(authority, keys[0], keys[1].public_key(), NAMES, 825, late)
    assert server.not_valid_after_utc == authority.not_valid_after_utc
    with pytest.raises(ConfigError, match="has expired"):
        make_server_certificate(authority, keys[0], keys[1].public_key(), NAMES, 825, now + 3651 * DAY)


def test_a_certificate_is_read_in_the_one_way_it_is_written(made):
    pem = to_pem(made[0])
    assert load_certificate(pem, "it") == made[0]
    for wrong in ("", pem + pem, pem + to_pem(made[1]), pem.strip(), pem.replace("M", "N", 1),
                  "é" + pem, pem.replace("CERTIFICATE", "PRIVATE KEY")):
        with pytest.raises(ProtocolError, match="it cannot be read"):
            load_certificate(wrong, "it")


DER = make_authority("demo", new_key(), datetime(2026, 3, 1, tzinfo=UTC)).public_bytes(Encoding.DER)
PEM = to_pem(x509.load_der_x509_certificate(DER))


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
@example(DER.index(b"\xa0\x03\x02\x01\x02") + 4, 3)  # X.509 version 4, which is none
def test_an_edited_certificate_is_no_ca(place, byte):
    edited = DER[:place] + bytes([byte]) + DER[place + 1:]
    text = b64encode(edited).decode()
    pem = "\n".join(["-----BEGIN CERTIFICATE-----", *textwrap.wrap(text, 64),
                     "-----END CERTIFICATE-----", ""])
    if edited == DER:
        assert pem == PEM
        return
    with pytest.raises((ProtocolError, ConfigError)):
        check_authority(load_certificate(pem, "it"), datetime(2026, 4, 1, tzinfo=UTC))


@given(st.integers(0, len(PEM) - 1), st.characters())
def test_an_edited_certificate_is_another_one_or_none(place, letter):
    edited = PEM[:place] + letter + PEM[place + 1:]
    try:
        certificate = load_certificate(edited, "it")
    except ProtocolError:
        return
    assert to_pem(certificate) == edited
    try:
        check_authority(certificate, datetime(2026, 4, 1, tzinfo=UTC))
    except (ProtocolError, ConfigError):
        return
    assert edited == PEM
