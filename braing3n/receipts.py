"""Heads of ledgers as sites claim them and receipts as the coordinator gives them: signed, checked."""

from collections.abc import Callable
from typing import Any

from braing3n.errors import ProtocolError
from braing3n.files import ZEROS, canonical_json, digest_bytes
from braing3n.privacy.ledger_entry import NOTHING, Head
from braing3n.privacy_messages import HeadClaim, Receipt
from braing3n.signing import PublicKey, SigningKey


def sign_claim(
    sign: Callable[[bytes], str], public_key: PublicKey, site: str, *, head: Head,
    anchor: Head = NOTHING,
) -> HeadClaim:
    """Return a site's claim, signed by its ledger's key.

    Args:
        sign: Signs with that key.
        public_key: The key.
        site: The site's agreed name.
        head: How far the ledger goes.
        anchor: The entry that the coordinator's last receipt was for, as the ledger holds it now.
    """
    unsigned = HeadClaim(seq=head.seq, digest=head.digest, anchor_seq=anchor.seq,
                         anchor_digest=anchor.digest, public_key=public_key.text, signature="0")
    return unsigned.model_copy(update={"signature": sign(_claimed(site, _unsigned(unsigned)))})


def check_claim(claim: HeadClaim, site: str) -> None:
    """Check that a claim is signed by the key that it names.

    Raises:
        ProtocolError: It is not.
    """
    _check(claim.public_key, claim.signature, _claimed(site, _unsigned(claim)), "a ledger's head")


def sign_receipt(key: SigningKey, **fields: Any) -> Receipt:
    """Return a receipt, signed by the coordinator's key; `fields` are those of `Receipt`."""
    unsigned = Receipt(**fields, public_key=key.public.text, signature="0")
    return unsigned.model_copy(update={"signature": key.sign(canonical_json(_unsigned(unsigned)))})


def check_receipt(receipt: Receipt) -> None:
    """Check that a receipt is signed by the key that it names, and its claim by the site's.

    Raises:
        ProtocolError: One of them is not.
    """
    check_claim(receipt.claim, receipt.site)
    _check(receipt.public_key, receipt.signature, canonical_json(_unsigned(receipt)), "a receipt")


def receipt_line(receipt: Receipt) -> bytes:
    """Return the line of receipts.jsonl that a receipt is, without its end."""
    return canonical_json(receipt.model_dump(mode="json"))


def receipt_digest(receipt: Receipt | None) -> str:
    """Return what the next receipt names as `previous`; zeros before the first."""
    return ZEROS if receipt is None else digest_bytes(receipt_line(receipt))


def _unsigned(signed: HeadClaim | Receipt) -> dict[str, Any]:
    return signed.model_dump(mode="json", exclude={"signature"})


def _claimed(site: str, unsigned: dict[str, Any]) -> bytes:
    return canonical_json({"site": site, **unsigned})


def _check(public_key: str, signature: str, content: bytes, what: str) -> None:
    if not PublicKey.from_text(public_key).verify(content, signature):
        raise ProtocolError(f"{what} has a wrong signature", expected="one by the key that it names",
                            found="another", fix="look into that site's log")
