"""The coordinator's book of rounds: one signed chain, gone on with after a crash."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from braing3n.errors import ConfigError, OutputError
from braing3n.files import digest_bytes
from braing3n.privacy.ledger_entry import Head
from braing3n.protocol import LOSSES, REFUSALS, Reply, Task
from braing3n.receipts import sign_claim
from braing3n.round_records import FILE_NAME, read_records
from braing3n.signing import open_key
from braing3n.weights import digest_state
from server.outcome import Round
from server.receipts import ReceiptBook
from server.robust import OUTLIER
from server.round_records import RoundBook

RESULT = {"w": torch.arange(6.0).reshape(2, 3)}


def task(round_index: int = 0, run: str = "r1") -> Task:
    return Task(run=run, plan="{}", plan_digest="d" * 64, stage="pretrain", round_index=round_index)


def outcome(**refused: str) -> Round:
    replies = {name: Reply(site=name, stage="pretrain", round_index=0, plan_digest="d" * 64)
               for name in ("b", "a")}
    return Round(asked=("b", "a", *refused), replies=replies, refused=refused)


def added(folder: Path, rounds: int, run: str = "r1") -> RoundBook:
    book = RoundBook(folder, run)
    for number in range(rounds):
        book.add("training", task(number, run), outcome(c="late"), RESULT)
    return book


def test_a_record_says_who_was_asked_who_answered_and_why_others_did_not(tmp_path: Path) -> None:
    book = RoundBook(tmp_path, "r1")
    assert book.latest is None
    made = book.add("training", task(), outcome(c="budget", d="late"), RESULT)
    assert book.latest == made
    assert (made.asked, made.answered) == (("a", "b", "c", "d"), ("a", "b"))
    assert made.refused == {"c": "budget", "d": "late"}
    assert (made.result, made.what, made.number) == (digest_state(RESULT), "training", 0)
    then = book.add("statistics", task(2), outcome(), None)
    assert (then.result, then.number) == (None, 1)
    assert list(read_records((tmp_path / FILE_NAME).read_bytes().splitlines())) == [made, then]


def test_receipts_and_records_of_a_run_are_by_one_key(tmp_path: Path) -> None:
    site = open_key(tmp_path / "site.key")
    receipts = ReceiptBook(tmp_path, "r1")
    receipts.give("a", sign_claim(site.sign, site.public, "a", head=Head(seq=0, digest="a" * 64)))
    book = added(tmp_path, 1)
    assert book.latest is not None
    assert {book.latest.public_key} == {one.public_key for one in receipts.latest}


@pytest.mark.parametrize("torn", [b"", b"{", b'{"answered":["a"'])
def test_a_book_goes_on_after_a_crash_and_a_round_that_is_run_again_follows(
    tmp_path: Path, torn: bytes
) -> None:
    added(tmp_path, 2)
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    again = RoundBook(tmp_path, "r1")
    again.add("training", task(1), outcome(), RESULT)
    assert path.read_bytes().startswith(whole)
    records = list(read_records(path.read_bytes().splitlines()))
    assert [(one.number, one.round_index) for one in records] == [(0, 0), (1, 1), (2, 1)]
    assert records[2].previous == digest_bytes(whole.splitlines()[1])


@pytest.mark.parametrize("change", [
    lambda lines: lines[1:], lambda lines: [lines[0], lines[2]], lambda lines: [b"{}", *lines],
    lambda lines: [lines[0].replace(b'"late"', b'"held"'), *lines[1:]]])
def test_records_that_were_changed_or_taken_out_stop_the_run(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    added(tmp_path, 3)
    path = tmp_path / FILE_NAME
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))
    with pytest.raises(OutputError, match="is damaged"):
        RoundBook(tmp_path, "r1")


def test_another_run_and_another_key_are_refused(tmp_path: Path) -> None:
    added(tmp_path, 1)
    with pytest.raises(OutputError, match="is damaged") as refused:
        RoundBook(tmp_path, "r2")
    assert "another run" in refused.value.found
    before = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / "receipts.key").unlink()
    with pytest.raises(ConfigError, match="not of the secret key"):
        added(tmp_path, 1)
    (tmp_path / "receipts.pub").unlink()
    with pytest.raises(OutputError, match="is not the one that its round records"):
        added(tmp_path, 1)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_word_that_is_not_fixed_gets_into_no_record(tmp_path: Path) -> None:
    made = RoundBook(tmp_path, "r1").add("training", task(), outcome(c="sub-01 is ill"), RESULT)
    assert made.refused == {"c": "internal"}
    # Those that the coordinator itself gives, beside the sites' own.
    assert {OUTLIER, "late", "unreachable", "missing_part"} <= set(LOSSES)
    assert set(REFUSALS) <= set(LOSSES)


@given(content=st.binary(max_size=300) | st.text().map(str.encode))
def test_any_content_of_the_file_is_told_or_cut_off(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("book")
    (folder / FILE_NAME).write_bytes(content)
    try:
        book = RoundBook(folder, "r1")
    except OutputError:
        return
    assert book.latest is None
    assert (folder / FILE_NAME).read_bytes() == b""
