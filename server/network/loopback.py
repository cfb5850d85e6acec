"""TLS on loopback, between SuperLink and what stands before it, apart from the consortium's CA.

Sites trust the consortium's CA. Were SuperLink's own port to show a certificate of that CA, whoever has
the CA's file, which is no secret, could talk to it from this machine as to the server itself.
"""

from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from braing3n.enrolment.certificates import (
    make_authority,
    make_server_certificate,
    new_key,
    to_pem,
)
from braing3n.enrolment.private_files import write_private
from server.network.places import LOOPBACK, LOOPBACK_NAME, Places

DAYS = 825


def write_loopback_certificate(places: Places, now: datetime) -> None:
    """Make a new certificate for the loopback port; the key of what signed it is not kept.

    Raises:
        ConfigError: It cannot be written.
    """
    authority_key, key = new_key(), new_key()
    authority = make_authority("loopback", authority_key, now)
    names = [LOOPBACK, LOOPBACK_NAME]  # nginx compares no addresses, only names
    made = make_server_certificate(authority, authority_key, key.public_key(), names, DAYS, now)
    write_private(places.authority, to_pem(authority).encode())
    write_private(places.certificate, to_pem(made).encode())
    write_private(places.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
