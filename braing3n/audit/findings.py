"""What an audit can find wrong, and what each of it means for the claim of privacy."""

from collections.abc import Mapping
from typing import NamedTuple


class Finding(NamedTuple):
    """Something wrong with a ledger or with receipts.

    Attributes:
        code: One of `CLAIM_AFTER`.
        entry: The line that it is about, from 0; None where it is about the whole.
        what: What was found, in words; nothing of a line's content that could be of any length.
    """

    code: str
    entry: int | None
    what: str

    @property
    def meaning(self) -> str:
        """What was found, and what that means for the claim."""
        return f"{self.what}. {CLAIM_AFTER[self.code]}"


_UNTRUSTED = "What this line says cannot be relied on, and so neither can any ε from this file."
_ALTERED = "The file is not as it was written: something may have been spent that it does not say."
_HIDDEN = ("Work that was shown to the coordinator is missing here: more was spent than this file "
           "says.")

CLAIM_AFTER: Mapping[str, str] = {
    # of lines
    "unfinished": "The site was stopped while it wrote, and nothing was released for this line; the "
                  "site's next start mends the file. Ask for it again, as this copy may also be cut.",
    "malformed": _UNTRUSTED,
    "edited": _UNTRUSTED,
    "key": "Somebody else than this ledger's owner has signed it. " + _UNTRUSTED,
    # of their order
    "chain": _ALTERED,
    "deleted": _ALTERED,
    "reordered": _ALTERED,
    "replayed": "A line stands here twice, so that the file is not as it was written. No more was "
                "spent by it, but nothing else here can be relied on.",
    "two_writers": "Two entries are signed for the same place: two copies of this ledger were written "
                   "to, or one entry was put in later. What one says was spent is not in the other: "
                   "the ε of both together is higher than either says.",
    "clock": "The clock of the site was set back, or lines were put in later: times of entries cannot "
             "be relied on.",
    # of what they say together
    "settle": "What is said to have been done is not what was reserved for it: the charge may be lower "
              "than what was spent.",
    "released_twice": "The same release was made twice: with other noise, that is two releases, and "
                      "both are counted here. A site that keeps the rules gives the first one again.",
    "undecided": "Something was spent before this file says what may be spent: no limit was in force.",
    "over_budget": "More was spent than the hospital had decided on: the promise to its patients was "
                   "broken, or the budget was raised without a signed decision.",
    "understated": "The site tells its patients a lower ε than its own list of work comes to. The "
                   "recomputed one holds.",
    # of receipts
    "truncated": _HIDDEN + " It was cut at its end, or is an old copy from a backup.",
    "forked": _HIDDEN + " It is an old copy from a backup that was gone on with.",
    "other_key": "The coordinator was shown a ledger of another key under this site's name: this file "
                 "was begun anew or signed anew, and what the other one says was spent comes on top.",
    "unreceipted": "Whether this file stands in the place of another one is not known. Give the other "
                   "ledgers as well; and if receipts of this one are missing, ask who removed them.",
    "receipt_malformed": "This receipt says nothing; whether the ledger was cut there is not known.",
    "receipt_signature": "The coordinator has not given this receipt, or not so; whether the ledger "
                         "was cut there is not known.",
    "receipt_claim": "The site has not signed the head that this receipt is for: the coordinator has "
                     "made it up, or it was changed.",
    "receipt_chain": "Receipts are missing, or were put in: the coordinator's list is not as it was "
                     "given.",
    "receipt_fork": "The coordinator gave different receipts under one number, so that sites were told "
                    "different things. Ask it which is true.",
    "receipt_key": "Receipts of one run are signed by several keys: another party than the coordinator "
                   "has given some of them.",
}
