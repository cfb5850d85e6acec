"""A site's request to join: its name and public keys, signed by the secret halves of both."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from pydantic import Field

from braing3n.enrolment.node_keys import NodeKey, Proof, is_proof, node_key_text, prove
from braing3n.enrolment.signed_files import (
    Ed25519Key,
    SignedFile,
    check_signature,
    read_signed,
    sign,
)
from braing3n.enrolment.words import fingerprint_words
from braing3n.errors import ProtocolError
from braing3n.files import canonical_json
from braing3n.moments import check_not_ahead, to_moment, to_text
from braing3n.protocol import SiteName
from braing3n.signing import SigningKey

# An old request may be somebody else's copy; the site makes a new one in a second.
_MAX_AGE = timedelta(days=30)

Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+!_-]{1,40}$")]


class SiteRequest(SignedFile):
    """What a site asks the coordinator to enrol.

    Attributes:
        site: The name that the consortium agreed on.
        node_key: The public key of its SuperNode.
        ledger_key: The public key of its ledger, which signs the request.
        version: The software that is installed there.
        proof: By the SuperNode's key, of all above: nobody enrols a key that is another's.
    """

    limit: ClassVar[int] = 4096

    kind: Literal["braing3n-site-request-1"] = "braing3n-site-request-1"
    site: SiteName
    node_key: NodeKey
    ledger_key: Ed25519Key
    version: Version
    proof: Proof

    @property
    def words(self) -> str:
        """What the site reads out, and the coordinator compares."""
        return fingerprint_words(self.model_dump(mode="json"))


def make_request(
    site: str, *, node_key: EllipticCurvePrivateKey, ledger_key: SigningKey, version: str,
    now: datetime,
) -> SiteRequest:
    """Return a site's request, signed.

    Args:
        site: The site's name.
        node_key: Its SuperNode's key.
        ledger_key: Its ledger's key.
        version: The software that is installed.
        now: What time it is.
    """
    unsigned = SiteRequest(
        site=site, node_key=node_key_text(node_key.public_key()), ledger_key=ledger_key.public.text,
        version=version, time=to_text(now), proof="00")
    proven = unsigned.model_copy(update={"proof": prove(node_key, _claimed(unsigned))})
    return sign(proven, ledger_key)


def read_request(path: Path, now: datetime) -> SiteRequest:
    """Read a request, and check all that can be checked without knowing the site.

    Raises:
        ConfigError: It cannot be read, or comes from the future.
        ProtocolError: It is none, was edited, is older than 30 days, or not by both of its keys.
    """
    request = read_signed(SiteRequest, path)
    check_signature(request, request.ledger_key, "the ledger's key that it names")
    if not is_proof(request.node_key, _claimed(request), request.proof):
        raise ProtocolError("the request names a SuperNode's key that its sender does not have",
                            expected="a proof by that key", found="another",
                            fix="ask the site to make its request anew, and compare the words")
    check_not_ahead(request.time, "the request", now)
    if now - to_moment(request.time) > _MAX_AGE:
        raise ProtocolError("the request is too old", found=f"one of {request.time}",
                            expected=f"one of the last {_MAX_AGE.days} days",
                            fix="ask the site to run `braing3n site request` again")
    return request


def _claimed(request: SiteRequest) -> bytes:
    return canonical_json(request.model_dump(mode="json", exclude={"proof", "signature"}))
