"""A site's side of receipts: what the coordinator was shown must still be in the ledger."""

from collections.abc import Iterable

from pydantic import ValidationError

from braing3n.errors import LedgerError, ProtocolError
from braing3n.files import append_text, cut_unfinished, whole_lines
from braing3n.privacy.ledger import Ledger
from braing3n.privacy.ledger_history import History
from braing3n.privacy_messages import HeadClaim, Receipt
from braing3n.protocol import Task
from braing3n.receipts import check_receipt, receipt_line, sign_claim
from client.site import Site

FILE_NAME = "receipts.jsonl"


def check_receipts(site: Site, task: Task, ledger: Ledger) -> None:
    """Keep the receipts that came with a task, of all sites, and hold the own one to the ledger.

    The first receipt of a run fixes the key of its coordinator. One for a head that this site's key
    has not signed is not kept: what is kept is held to the ledger for good.

    Raises:
        ProtocolError: A receipt is not signed, or not by the key that the run began with.
        LedgerError: The ledger lacks an entry that the coordinator was shown, or has another in its
            place: it was rolled back to a backup, or forked. Or it has another key.
    """
    kept = kept_receipts(site)
    keys = {receipt.public_key for receipt in kept if receipt.run == task.run}
    for receipt in task.receipts:
        check_receipt(receipt)
        if receipt.run != task.run or (keys and receipt.public_key not in keys):
            raise ProtocolError("a receipt is not of this run's coordinator",
                                expected="the key that the run began with", found="another",
                                fix="ask the coordinator; nothing was spent")
        if receipt.site == site.config.name:
            _check_key(receipt, ledger)
        keys.add(receipt.public_key)
    new = [receipt for receipt in task.receipts if receipt not in kept]
    if new:
        _append(site, new)
    for receipt in [*kept, *new]:
        if receipt.site == site.config.name:
            hold(receipt, ledger)


def hold(receipt: Receipt, ledger: History) -> None:
    """Check that a ledger still has the entry that a receipt is for.

    Raises:
        LedgerError: It lacks that entry, or has another in its place, or has another key.
    """
    _check_key(receipt, ledger)
    there = ledger.head_at(receipt.seq) if receipt.seq <= ledger.head.seq else None
    if there is not None and there.digest == receipt.digest:
        return
    raise _other(f"entry {receipt.seq} of sha256 {receipt.digest}",
                 "no such entry" if there is None else f"sha256 {there.digest}")


def _check_key(receipt: Receipt, ledger: History) -> None:
    if receipt.site_key != ledger.public_key.text:
        raise _other(f"the key {receipt.site_key}", f"the key {ledger.public_key.text}")


def _other(expected: str, found: str) -> LedgerError:
    return LedgerError(
        "the ledger is not the one that the coordinator was shown", expected=expected, found=found,
        fix="restore the newest ledger.jsonl with its key: a copy from a backup hides what was spent "
            "since. If nothing was restored here, ask the coordinator")


def claim_head(site: Site, ledger: Ledger, run: str) -> HeadClaim:
    """Return the site's signed word on how far its ledger goes."""
    own = [receipt for receipt in kept_receipts(site)
           if receipt.site == site.config.name and receipt.run == run]
    anchor = ledger.head_at(own[-1].seq if own else -1)
    return sign_claim(ledger.sign, ledger.public_key, site.config.name, head=ledger.head, anchor=anchor)


def kept_receipts(site: Site) -> list[Receipt]:
    """Return the receipts that this site has; a last line that was not finished is passed over.

    Raises:
        LedgerError: They are damaged.
    """
    path = site.config.state_dir / FILE_NAME
    try:
        return [Receipt.model_validate_json(line) for line in whole_lines(path)]
    except ValidationError as error:
        raise LedgerError(f"{path} is damaged", expected="receipts, one a line", found="other content",
                          fix="restore it from a backup: without it, a ledger that was rolled back is "
                              "found by the coordinator alone") from error


def _append(site: Site, receipts: Iterable[Receipt]) -> None:
    """Add receipts at the end, after cutting off a line that was not finished."""
    path = site.config.state_dir / FILE_NAME
    cut_unfinished(path)
    append_text(path, "".join(receipt_line(receipt).decode() + "\n" for receipt in receipts))
