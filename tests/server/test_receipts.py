from pathlib import Path

import pytest

from braing3n.errors import LedgerError, OutputError, ProtocolError
from braing3n.privacy.ledger_entry import Head
from braing3n.privacy_messages import HeadClaim, Receipt
from braing3n.receipts import sign_claim
from braing3n.signing import SigningKey, open_key
from server.receipts import FILE_NAME, ReceiptBook


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return open_key(tmp_path / "site.key", tmp_path / "site.pub")


@pytest.fixture
def book(tmp_path: Path) -> ReceiptBook:
    (tmp_path / "run").mkdir()
    return ReceiptBook(tmp_path / "run", "r1")


def claim(key: SigningKey, seq: int, digest: str = "a", anchor: tuple[int, str] = (-1, "0"),
          site: str = "a") -> HeadClaim:
    return sign_claim(key.sign, key.public, site, head=Head(seq=seq, digest=digest * 64),
                      anchor=Head(seq=anchor[0], digest=anchor[1] * 64))


def test_each_new_head_gets_a_receipt_and_a_known_one_none(book: ReceiptBook, key: SigningKey,
                                                           tmp_path: Path) -> None:
    book.give("a", claim(key, 2))
    book.give("a", claim(key, 2))
    book.give("a", claim(key, 4, "b", (2, "a")))
    book.give("b", None)  # it keeps no ledger
    lines = (tmp_path / "run" / FILE_NAME).read_text().splitlines()
    assert [Receipt.model_validate_json(line).seq for line in lines] == [2, 4]
    assert [receipt.seq for receipt in book.latest] == [4]


@pytest.mark.parametrize(("seq", "digest", "anchor", "found"), [
    (1, "a", (-1, "0"), "rolled back"), (2, "c", (-1, "0"), "forked"),
    (5, "c", (2, "d"), "forked"),
])
def test_a_ledger_that_does_not_go_on_from_what_was_shown_is_refused(
    book: ReceiptBook, key: SigningKey, seq: int, digest: str, anchor: tuple[int, str], found: str
) -> None:
    book.give("a", claim(key, 2))
    with pytest.raises(LedgerError, match="does not go on") as refused:
        book.give("a", claim(key, seq, digest, anchor))
    assert found in refused.value.found
    assert [receipt.seq for receipt in book.latest] == [2]


def test_another_key_a_missing_ledger_and_a_false_signature_are_refused(
    book: ReceiptBook, key: SigningKey, tmp_path: Path
) -> None:
    book.give("a", claim(key, 2))
    other = open_key(tmp_path / "other.key", tmp_path / "other.pub")
    with pytest.raises(LedgerError, match="does not go on"):
        book.give("a", claim(other, 3, "b", (2, "a")))
    with pytest.raises(LedgerError, match="does not go on"):
        book.give("a", None)
    with pytest.raises(ProtocolError, match="wrong signature"):
        book.give("a", claim(key, 3, "b", (2, "a"), site="b"))


def test_a_book_goes_on_after_a_crash_and_drops_half_a_line(
    book: ReceiptBook, key: SigningKey, tmp_path: Path
) -> None:
    book.give("a", claim(key, 2))
    path = tmp_path / "run" / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"half":')
    again = ReceiptBook(tmp_path / "run", "r1")
    again.give("a", claim(key, 3, "b", (2, "a")))
    assert path.read_bytes().startswith(whole)
    numbers = [Receipt.model_validate_json(line).number for line in path.read_text().splitlines()]
    assert numbers == [0, 1]


@pytest.mark.parametrize("change", [(b'"seq":2', b'"seq":3'), (b'"number":1', b'"number":2')])
def test_receipts_that_were_changed_are_found(
    book: ReceiptBook, key: SigningKey, tmp_path: Path, change: tuple[bytes, bytes]
) -> None:
    book.give("a", claim(key, 2))
    book.give("a", claim(key, 4, "b", (2, "a")))
    path = tmp_path / "run" / FILE_NAME
    path.write_bytes(path.read_bytes().replace(*change))
    with pytest.raises(OutputError, match="is damaged"):
        ReceiptBook(tmp_path / "run", "r1")


def test_a_receipt_that_was_taken_out_is_found(book: ReceiptBook, key: SigningKey,
                                               tmp_path: Path) -> None:
    for seq, digest, anchor in ((2, "a", (-1, "0")), (4, "b", (2, "a")), (6, "c", (4, "b"))):
        book.give("a", claim(key, seq, digest, anchor))
    path = tmp_path / "run" / FILE_NAME
    first, _, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + last)
    with pytest.raises(OutputError, match="is damaged"):
        ReceiptBook(tmp_path / "run", "r1")
