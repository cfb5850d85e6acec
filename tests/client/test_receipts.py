"""A site's side of receipts: a ledger that is not the one that was shown stops its site."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from braing3n.errors import LedgerError, ProtocolError
from braing3n.privacy.ledger import Ledger, load_history, open_ledger
from braing3n.privacy.ledger_entry import Head
from braing3n.privacy_messages import HeadClaim, Receipt
from braing3n.receipts import check_claim, receipt_digest, receipt_line, sign_claim, sign_receipt
from braing3n.signing import open_key
from client.receipts import check_receipts, claim_head, kept_receipts
from server.receipts import ReceiptBook

Make = Callable[..., Any]


class Shown:
    """A site, and the book of a coordinator that it shows its head to."""

    def __init__(self, site: Any, book: ReceiptBook) -> None:
        self.site, self.book = site, book

    def spend(self, word: str = "spent") -> None:
        with open_ledger(self.site.state) as ledger:
            ledger.note(word)

    def show(self) -> tuple[Receipt, ...]:
        """Show the head as it is, and return what the coordinator then sends with a task."""
        with open_ledger(self.site.state) as ledger:
            self.book.give("site-a", claim_head(self.site.site, ledger, "r1"))
        return self.book.latest

    def take(self, *receipts: Receipt, run: str = "r1") -> None:
        """Take a task with these receipts."""
        with open_ledger(self.site.state) as ledger:
            self.check(ledger, *receipts, run=run)

    def check(self, ledger: Ledger, *receipts: Receipt, run: str = "r1") -> None:
        check_receipts(self.site.site, self.site.task(run=run, receipts=receipts), ledger)


@pytest.fixture
def shown(clinic: Make, tmp_path: Path) -> Shown:
    (tmp_path / "run").mkdir()
    return Shown(clinic(), ReceiptBook(tmp_path / "run", "r1"))


def test_receipts_are_kept_once_and_in_their_order(shown: Shown) -> None:
    first = shown.show()
    shown.take(*first)
    shown.take(*first)
    shown.spend()
    second = shown.show()
    shown.take(*second)
    assert kept_receipts(shown.site.site) == [*first, *second]


def test_those_of_other_sites_are_kept_and_not_held_to_the_own_ledger(
    shown: Shown, tmp_path: Path
) -> None:
    with open_ledger(tmp_path / "other") as ledger:
        for _ in range(9):
            ledger.note("spent")
        shown.book.give("site-b", sign_claim(
            ledger.sign, ledger.public_key, "site-b", head=ledger.head))
    shown.take(*shown.show())
    assert [one.site for one in kept_receipts(shown.site.site)] == ["site-a", "site-b"]


def test_a_head_is_claimed_with_the_entry_that_was_receipted_last(shown: Shown) -> None:
    shown.take(*shown.show())
    shown.spend()
    with open_ledger(shown.site.state) as ledger:
        claim = claim_head(shown.site.site, ledger, "r1")
        other = claim_head(shown.site.site, ledger, "r2")
    check_claim(claim, "site-a")
    history = load_history(shown.site.state)
    assert (claim.seq, claim.digest) == (1, history.head.digest)
    assert (claim.anchor_seq, claim.anchor_digest) == (0, history.head_at(0).digest)
    assert (other.anchor_seq, other.anchor_digest) == (-1, "0" * 64)


def backed_up(shown: Shown, folder: Path) -> Path:
    shutil.copytree(shown.site.state, folder)
    return folder


def restored(shown: Shown, backup: Path) -> None:
    for path in backup.glob("ledger*"):
        shutil.copy(path, shown.site.state / path.name)


def test_a_ledger_from_a_backup_stops_the_site(shown: Shown, tmp_path: Path) -> None:
    shown.show()
    backup = backed_up(shown, tmp_path / "backup")
    shown.spend()
    newest = shown.show()
    restored(shown, backup)
    with pytest.raises(LedgerError, match="not the one that the coordinator was shown") as stopped:
        shown.take(*newest)
    assert stopped.value.found == "no such entry"


def test_it_does_so_in_later_tasks_too_whether_or_not_the_receipt_comes_again(
    shown: Shown, tmp_path: Path
) -> None:
    shown.show()
    backup = backed_up(shown, tmp_path / "backup")
    shown.spend()
    shown.take(*shown.show())
    restored(shown, backup)
    for run in ("r1", "r2"):
        with pytest.raises(LedgerError, match="not the one"):
            shown.take(run=run)


def test_a_fork_stops_the_site_though_it_is_as_long_or_longer(
    shown: Shown, tmp_path: Path
) -> None:
    shown.show()
    backup = backed_up(shown, tmp_path / "backup")
    shown.spend()
    newest = shown.show()
    restored(shown, backup)
    for _ in range(2):
        shown.spend("other")
        with pytest.raises(LedgerError, match="not the one") as stopped:
            shown.take(*newest)
        assert "sha256" in stopped.value.found


def test_a_receipt_for_a_head_that_the_site_never_had_is_refused_and_not_kept(
    shown: Shown, tmp_path: Path
) -> None:
    """A coordinator cannot stop a site for good by a receipt that it made up."""
    shown.take(*shown.show())
    (kept,) = kept_receipts(shown.site.site)
    coordinator = open_key(tmp_path / "run" / "receipts.key", tmp_path / "run" / "receipts.pub")
    far = Head(seq=99, digest="f" * 64)

    def made_up(claim: HeadClaim) -> Receipt:
        return sign_receipt(coordinator, number=1, previous=receipt_digest(kept), run="r1",
                            site="site-a", claim=claim)

    own = kept.claim.model_copy(update={"seq": far.seq, "digest": far.digest})
    with pytest.raises(ProtocolError, match="wrong signature"):
        shown.take(made_up(own))
    # By a key of the coordinator's, under the site's name.
    with pytest.raises(LedgerError, match="not the one") as stopped:
        shown.take(made_up(sign_claim(coordinator.sign, coordinator.public, "site-a", head=far)))
    assert stopped.value.found.startswith("the key ")
    assert kept_receipts(shown.site.site) == [kept]
    shown.take(kept)


def test_a_ledger_begun_anew_stops_the_site_though_its_key_and_all_is_gone(shown: Shown) -> None:
    shown.spend()
    newest = shown.show()
    for path in shown.site.state.glob("ledger*"):
        path.unlink()
    with pytest.raises(LedgerError, match="not the one"):
        shown.take(*newest)


def test_the_first_receipt_of_a_run_fixes_its_coordinator(shown: Shown, tmp_path: Path) -> None:
    shown.take(*shown.show())
    (tmp_path / "other").mkdir()
    impostor = Shown(shown.site, ReceiptBook(tmp_path / "other", "r1"))
    with pytest.raises(ProtocolError, match="not of this run's coordinator"):
        shown.take(*impostor.show())
    (tmp_path / "next").mkdir()
    following = Shown(shown.site, ReceiptBook(tmp_path / "next", "r2"))
    shown.take(*following.show(), run="r2")
    assert len({one.public_key for one in kept_receipts(shown.site.site)}) == 2


def test_a_receipt_of_another_run_or_one_that_was_changed_is_refused_and_not_kept(
    shown: Shown
) -> None:
    (receipt,) = shown.show()
    with pytest.raises(ProtocolError, match="not of this run's coordinator"):
        shown.take(receipt, run="r2")
    with pytest.raises(ProtocolError, match="wrong signature"):
        shown.take(receipt.model_copy(update={"number": 7}))
    assert kept_receipts(shown.site.site) == []


@pytest.mark.parametrize("length", [1, 30, -1])
def test_a_line_that_a_kill_cut_short_is_replaced_by_the_whole_one(
    shown: Shown, length: int
) -> None:
    first = shown.show()
    shown.take(*first)
    shown.spend()
    second = shown.show()
    path = shown.site.state / "receipts.jsonl"
    path.write_bytes(path.read_bytes() + receipt_line(second[0])[:length])
    assert kept_receipts(shown.site.site) == [*first]
    shown.take(*second)
    assert kept_receipts(shown.site.site) == [*first, *second]


def test_receipts_that_were_damaged_stop_the_site(shown: Shown) -> None:
    shown.take(*shown.show())
    path = shown.site.state / "receipts.jsonl"
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(LedgerError, match=r"receipts\.jsonl is damaged"):
        shown.take()


def test_a_round_over_real_work_is_stopped_before_anything_is_computed(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = shown.site
    first, _ = site.train()
    shown.book.give("site-a", first.head)
    backup = backed_up(shown, tmp_path / "backup")
    second, _ = site.train(round_index=1, receipts=shown.book.latest)
    shown.book.give("site-a", second.head)
    restored(shown, backup)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr("client.work.open_task", never)
    with pytest.raises(LedgerError, match="not the one"):
        site.train(round_index=2, receipts=shown.book.latest)
    assert len(site.events()) == 1
