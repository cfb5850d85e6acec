"""What a ledger's lines say together: whether they hold, and what was spent. No I/O."""

from collections.abc import Iterable
from typing import NamedTuple

from braing3n.errors import LedgerError
from braing3n.files import digest_bytes
from braing3n.privacy.events import Event
from braing3n.privacy.ledger_entry import BUDGET, NOTHING, WITHOUT_DP, Entry, Head, parse_line
from braing3n.signing import PublicKey

# In these a settle says what its reserve said.
_KEPT = ("run", "stage", "round_index", "cohort", "what", "plan_digest", "weights_digest")


class Finding(NamedTuple):
    """Something wrong with a ledger.

    Attributes:
        code: `malformed`, `key`, `signature`, `seq`, `chain`, `time` or `settle`.
        seq: The line, from 0.
        meaning: What is wrong, in words; no content of the line.
    """

    code: str
    seq: int
    meaning: str


def split_lines(content: bytes) -> tuple[list[bytes], bytes]:
    """Return a ledger file's lines without their ends, and what follows the last end.

    The latter is not empty where writing was cut short: nobody was told that the entry is there.
    """
    *lines, torn = content.split(b"\n")
    return lines, torn


class Decided(NamedTuple):
    """What a hospital has decided that may be spent on a cohort."""

    epsilon: float
    delta: float


class History:
    """A ledger's entries in their order.

    Every line must keep these rules, whose names are the findings' codes:

    - malformed: it is the canonical JSON of an entry, with the fields that its kind needs.
    - key: it names the ledger's key.
    - signature: that key signed it.
    - seq: its number is the number of lines before it.
    - chain: `prev` is the sha256 of the line before it.
    - time: it is not older than the entry before it.
    - settle: a settle is of an earlier reserve that was not settled before; it says the same of
      run, stage, round, cohort, release, plan, weights and mechanism, with as many steps at most.

    So whatever is changed, left out, moved or put in between is found. Lines that are missing at
    the end are not: for that, a head is needed that was given to somebody else.

    Everything ever reserved counts as spent: as the settle says where there is one, in full where
    there is none.

    Args:
        lines: Without their ends.
        public_key: The ledger's.

    Attributes:
        public_key: The ledger's.
        findings: What is wrong. Unless it is empty, nothing else here can be relied on.
        entries: One for each line that could be read.
    """

    def __init__(self, lines: Iterable[bytes], public_key: PublicKey) -> None:
        self.public_key = public_key
        self.findings: list[Finding] = []
        self.entries: list[Entry] = []
        self._digests: list[str] = []  # of every line
        self._reserves: dict[int, Entry] = {}
        self._settles: dict[int, Entry] = {}  # by the number of their reserve
        for line in lines:
            entry, findings = self._look(line)
            self.findings += findings
            self._take(line, entry)

    @property
    def head(self) -> Head:
        """How far the ledger goes."""
        return self.head_at(len(self._digests) - 1)

    def head_at(self, seq: int) -> Head:
        """Return the head of the time when entry `seq` was the last one; -1 is before the first.

        Raises:
            LedgerError: There is no such entry.
        """
        if not -1 <= seq < len(self._digests):
            raise LedgerError("the ledger has no such entry", expected=f"entry {seq}",
                              found=f"{len(self._digests)} entries",
                              fix="find out whether it was cut short or restored from a backup")
        return NOTHING if seq == -1 else Head(seq=seq, digest=self._digests[seq])

    def events(self, cohort: str) -> list[Event]:
        """Return all that was ever spent on a cohort, in order of the reserves."""
        return [self._settles.get(seq, reserve).event()
                for seq, reserve in self._reserves.items() if reserve.cohort == cohort]

    def open_reserves(self) -> list[Entry]:
        """Return the reserves that were never settled. They count in full."""
        return [entry for seq, entry in self._reserves.items() if seq not in self._settles]

    def without_dp(self, cohort: str) -> list[Entry]:
        """Return the notes of releases without DP on a cohort: from the first on, it has no ε."""
        return [entry for entry in self.entries if entry.cohort == cohort
                and (entry.kind, entry.code) == ("note", WITHOUT_DP)]

    def limit(self, cohort: str) -> Decided | None:
        """Return the last decision on what may be spent on a cohort; None before the first."""
        found = [entry.detail for entry in self.entries
                 if (entry.kind, entry.code, entry.cohort) == ("note", BUDGET, cohort)]
        if not found:
            return None
        words = (found[-1] or "").split()
        return Decided(epsilon=float(words[1]), delta=float(words[3]))

    def _look(self, line: bytes) -> tuple[Entry | None, list[Finding]]:
        """Return a next line's entry, where it can be read, and what is wrong with it."""
        seq = len(self._digests)
        try:
            entry = parse_line(line)
        except ValueError as error:
            return None, [Finding("malformed", seq, str(error))]
        broken = {
            "key": entry.key_id != self.public_key.key_id and "another key signed it",
            "signature": not self.public_key.verify(entry.signed_bytes(), entry.signature)
            and "its signature is not that of its content",
            "seq": entry.seq != seq and f"it says to be entry {entry.seq}",
            "chain": entry.prev != self.head.digest and "it does not follow the line before",
            "time": bool(self.entries) and entry.time < self.entries[-1].time
            and "it is older than the entry before",
            "settle": entry.kind == "settle" and self._wrong_settle(entry),
        }
        return entry, [Finding(code, seq, why) for code, why in broken.items() if why]

    def _wrong_settle(self, settle: Entry) -> str | None:
        """Return what is wrong with a settle."""
        number = -1 if settle.reserves is None else settle.reserves
        reserve = self._reserves.get(number)
        if reserve is None:
            return f"it settles entry {number}, which is no earlier reserve"
        if number in self._settles:
            return f"it settles entry {number} a second time"
        other = [name for name in _KEPT if getattr(settle, name) != getattr(reserve, name)]
        if other:
            return f"it is of another {' and '.join(other)} than its reserve"
        planned, done = reserve.mechanism, settle.mechanism
        if planned is None or done is None or done.steps > planned.steps:
            return "it has more steps than its reserve"
        if done != planned.model_copy(update={"steps": done.steps}):
            return "it is of another mechanism than its reserve"
        return None

    def _take(self, line: bytes, entry: Entry | None) -> None:
        """Put a line at the end, whatever is wrong with it: the next one is looked at against it."""
        self._digests.append(digest_bytes(line))
        if entry is None:
            return
        self.entries.append(entry)
        if entry.kind == "reserve":
            self._reserves[entry.seq] = entry
        elif entry.kind == "settle" and entry.reserves is not None:
            self._settles.setdefault(entry.reserves, entry)
