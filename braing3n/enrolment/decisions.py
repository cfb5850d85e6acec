"""What a coordinator decides of a site, as it is written down."""

from typing import Annotated, Literal

from pydantic import Field

from braing3n.enrolment.node_keys import NodeKey
from braing3n.enrolment.request import SiteRequest, Version
from braing3n.enrolment.signed_files import UNSIGNED, Ed25519Key, Signature
from braing3n.files import canonical_json
from braing3n.moments import Moment
from braing3n.protocol import SiteName
from braing3n.signing import SigningKey
from braing3n.yaml_files import Digest, StrictModel

Action = Literal["begun", "enrolled", "replaced", "revoked"]


class SiteEntry(StrictModel):
    """What a consortium knows of one site.

    Attributes:
        site: Its name.
        node_key: The public key of its SuperNode.
        ledger_key: The public key of its ledger.
        version: The software that was installed when it asked.
        request_digest: Of the request that was granted.
    """

    site: SiteName
    node_key: NodeKey
    ledger_key: Ed25519Key
    version: Version
    request_digest: Digest

    @classmethod
    def of(cls, request: SiteRequest) -> "SiteEntry":
        """Return the entry that a request asks for."""
        return cls(site=request.site, node_key=request.node_key, ledger_key=request.ledger_key,
                   version=request.version, request_digest=request.digest)


class Decision(StrictModel):
    """One decision of the coordinator.

    Attributes:
        kind: That it is one; see `SignedFile.kind`.
        seq: Its number, from 0.
        prev: sha256 of the line before; zeros in the first.
        time: When it was made.
        action: What was decided.
        consortium: The consortium's name.
        authority: sha256 of the CA's certificate (DER).
        entry: The site that it is about; None where the roster begins.
        signature: Of all other fields, by the coordinator's key.
    """

    kind: Literal["braing3n-decision-1"] = "braing3n-decision-1"
    seq: Annotated[int, Field(ge=0)]
    prev: Digest
    time: Moment
    action: Action
    consortium: SiteName
    authority: Digest
    entry: SiteEntry | None = None
    signature: Signature = UNSIGNED

    def line(self) -> bytes:
        """Return the line that stands for it, without its end."""
        return canonical_json(self.model_dump(mode="json"))

    def signed_bytes(self) -> bytes:
        """Return what is signed."""
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}))


def sign_decision(key: SigningKey, **fields: object) -> Decision:
    """Return a decision with these fields, signed by the coordinator's key."""
    unsigned = Decision.model_validate(fields)
    return unsigned.model_copy(update={"signature": key.sign(unsigned.signed_bytes())})
