"""Signed heads and receipts: nothing of them can be changed without its being seen."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.errors import ProtocolError
from braing3n.files import ZEROS, digest_bytes
from braing3n.privacy.ledger_entry import Head
from braing3n.privacy_messages import HeadClaim, Receipt
from braing3n.receipts import (
    check_claim,
    check_receipt,
    receipt_digest,
    receipt_line,
    sign_claim,
    sign_receipt,
)
from braing3n.signing import SigningKey, open_key


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return open_key(tmp_path_factory.mktemp("keys") / "a.key")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return open_key(tmp_path_factory.mktemp("keys") / "b.key")


def claim(key: SigningKey, site: str = "site-a", **change: Any) -> HeadClaim:
    fields = {"head": Head(seq=4, digest="a" * 64), "anchor": Head(seq=2, digest="b" * 64), **change}
    return sign_claim(key.sign, key.public, site, **fields)


def receipt(key: SigningKey, **change: Any) -> Receipt:
    fields = {"number": 3, "previous": "c" * 64, "run": "r", "site": "site-a", "claim": claim(key),
              **change}
    return sign_receipt(key, **fields)


def test_what_was_signed_is_taken(key: SigningKey) -> None:
    check_claim(claim(key), "site-a")
    check_receipt(receipt(key))


def test_a_claim_is_no_other_sites(key: SigningKey) -> None:
    with pytest.raises(ProtocolError, match="ledger's head has a wrong signature"):
        check_claim(claim(key), "site-b")


CLAIMED = {"seq": 5, "digest": "d" * 64, "anchor_seq": 3, "anchor_digest": "e" * 64}
RECEIPTED = {"number": 4, "previous": "d" * 64, "run": "s", "site": "site-b"}


@pytest.mark.parametrize("name", CLAIMED)
def test_no_field_of_a_claim_can_be_changed(key: SigningKey, name: str) -> None:
    with pytest.raises(ProtocolError, match="wrong signature"):
        check_claim(claim(key).model_copy(update={name: CLAIMED[name]}), "site-a")


@pytest.mark.parametrize("name", RECEIPTED)
def test_no_field_of_a_receipt_can_be_changed(key: SigningKey, name: str) -> None:
    with pytest.raises(ProtocolError, match="wrong signature"):
        check_receipt(receipt(key).model_copy(update={name: RECEIPTED[name]}))


def test_a_receipt_is_for_nothing_but_what_its_site_has_signed(
    key: SigningKey, other: SigningKey
) -> None:
    invented = claim(other).model_copy(update={"public_key": key.public.text})
    for false in (invented, claim(key, "site-b"), claim(key).model_copy(update={"seq": 9})):
        with pytest.raises(ProtocolError, match="a ledger's head has a wrong signature"):
            check_receipt(receipt(other, claim=false))
    # One true claim in another's place makes the coordinator's own signature wrong.
    with pytest.raises(ProtocolError, match="a receipt has a wrong signature"):
        check_receipt(receipt(key).model_copy(update={
            "claim": claim(key, head=Head(seq=9, digest="a" * 64))}))


def test_a_key_cannot_be_put_in_the_place_of_another(key: SigningKey, other: SigningKey) -> None:
    with pytest.raises(ProtocolError, match="wrong signature"):
        check_receipt(receipt(key).model_copy(update={"public_key": other.public.text}))
    with pytest.raises(ProtocolError, match="wrong signature"):
        check_claim(claim(key).model_copy(update={"public_key": other.public.text}), "site-a")


def test_a_claim_is_no_receipt_and_a_receipt_no_claim(key: SigningKey) -> None:
    one = claim(key)
    with pytest.raises(ProtocolError, match="wrong signature"):
        check_receipt(receipt(key).model_copy(update={"signature": one.signature}))


@given(st.text(alphabet="ed25519:0123456789abcdef+/=_-", min_size=1, max_size=140))
def test_no_text_in_the_place_of_a_signature_or_key_is_taken(text: str) -> None:
    claimed = HeadClaim(seq=0, digest=ZEROS, public_key=text, signature=text)
    with pytest.raises(ProtocolError):
        check_claim(claimed, "a")
    with pytest.raises(ProtocolError):
        check_receipt(Receipt(number=0, previous=ZEROS, run="r", site="a", claim=claimed,
                              public_key=text, signature=text))


def test_receipts_are_chained_by_the_digest_of_their_lines(key: SigningKey) -> None:
    one = receipt(key)
    assert receipt_digest(None) == "0" * 64
    assert receipt_digest(one) == digest_bytes(receipt_line(one))
    assert Receipt.model_validate_json(receipt_line(one)) == one
    assert b"\n" not in receipt_line(one)


def test_a_line_is_the_same_whatever_machine_writes_it(key: SigningKey) -> None:
    one = receipt(key)
    assert receipt_line(Receipt.model_validate_json(one.model_dump_json(indent=2))) == receipt_line(one)


def test_a_key_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    open_key(tmp_path / "k", tmp_path / "p")
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
