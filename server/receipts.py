"""The coordinator's receipts for the heads of sites' ledgers: signed, in one chain, on the disk."""

from collections.abc import Iterator
from pathlib import Path

from braing3n.errors import LedgerError, OutputError, ProtocolError
from braing3n.files import append_text, cut_unfinished, whole_lines
from braing3n.privacy_messages import HeadClaim, Receipt
from braing3n.receipts import check_claim, check_receipt, receipt_digest, receipt_line, sign_receipt
from braing3n.signing import SigningKey, open_key

FILE_NAME = "receipts.jsonl"
KEY_NAME = "receipts.key"
PUBLIC_NAME = "receipts.pub"


class ReceiptBook:
    """What sites have shown of their ledgers. Kept in the run's folder; it goes on after a crash.

    Args:
        folder: The run's folder.
        run: The run's id.

    Raises:
        OutputError: The receipts there are damaged.
        ConfigError: The key there is unusable.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._run = run
        self._key: SigningKey | None = None
        self._last: Receipt | None = None
        self._latest: dict[str, Receipt] = {}
        for receipt in _load(folder / FILE_NAME):
            self._take(receipt)

    @property
    def latest(self) -> tuple[Receipt, ...]:
        """The newest receipt of each site, by name: what sites are sent with every task."""
        return tuple(self._latest[site] for site in sorted(self._latest))

    def give(self, site: str, claim: HeadClaim | None) -> None:
        """Give a receipt for a site's head, if it goes on from the one that was shown before.

        Raises:
            ProtocolError: The claim is not signed by its key.
            LedgerError: The ledger was rolled back, forked, signed by another key, or is gone.
        """
        before = self._latest.get(site)
        if claim is None:
            if before is not None:
                raise _broken(site, f"a head at entry {before.seq} or later", "no ledger")
            return
        check_claim(claim, site)
        if before is not None:
            _check_goes_on(site, before, claim)
            if (before.seq, before.digest) == (claim.seq, claim.digest):
                return
        if self._key is None:
            self._key = open_run_key(self._folder)
        receipt = sign_receipt(
            self._key, number=0 if self._last is None else self._last.number + 1,
            previous=receipt_digest(self._last), run=self._run, site=site, claim=claim)
        append_text(self._folder / FILE_NAME, receipt_line(receipt).decode() + "\n")
        self._take(receipt)

    def _take(self, receipt: Receipt) -> None:
        self._last = self._latest[receipt.site] = receipt


def open_run_key(folder: Path) -> SigningKey:
    """Return the key by which a run's coordinator signs, and make it where there is none.

    Args:
        folder: The run's folder.

    Raises:
        ConfigError: The key there is unusable.
    """
    return open_key(folder / KEY_NAME, folder / PUBLIC_NAME)


def _check_goes_on(site: str, before: Receipt, claim: HeadClaim) -> None:
    """Check that a claim is of the ledger that the last receipt is for."""
    if claim.public_key != before.site_key:
        raise _broken(site, "the key that signed before", "another key")
    if claim.seq < before.seq:
        raise _broken(site, f"entry {before.seq} or later", f"entry {claim.seq}: rolled back")
    if claim.seq == before.seq and claim.digest != before.digest:
        raise _broken(site, f"the entry {before.seq} that was shown", "another: forked")
    # A site that did not get the last receipt anchors at an earlier one, or at none; then only its
    # next answer can show a fork.
    if claim.anchor_seq == before.seq and claim.anchor_digest != before.digest:
        raise _broken(site, f"the entry {before.seq} that was shown", "another: forked")


def _broken(site: str, expected: str, found: str) -> LedgerError:
    return LedgerError(f"the ledger of {site} does not go on from where it was", expected=expected,
                       found=found, fix=f"ask {site} for its ledger, and compare it with {FILE_NAME}")


def _load(path: Path) -> Iterator[Receipt]:
    """Read receipts, and check each and their chain; a line that was not finished is cut off."""
    before: Receipt | None = None
    try:
        for line in whole_lines(path):
            receipt = Receipt.model_validate_json(line)
            check_receipt(receipt)
            if receipt.previous != receipt_digest(before):
                raise ValueError("the chain is broken")
            before = receipt
            yield receipt
    except (ValueError, ProtocolError) as error:
        raise OutputError(f"{path} is damaged", expected="signed receipts, each after the one before",
                          found="other content", fix="restore it; sites keep copies in their "
                          "receipts.jsonl") from error
    cut_unfinished(path)
