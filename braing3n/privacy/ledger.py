"""A site's ledger on the disk: what it spends is written down before it is spent.

`ledger.jsonl` has one entry a line, `ledger.key` signs them, `ledger.pub` is for whoever checks them,
and `ledger.lock` keeps a second writer out. A ledger has one key for good.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from braing3n.errors import LedgerError
from braing3n.moments import to_text, utc_now
from braing3n.plan import StageName
from braing3n.privacy.ledger_entry import (
    BEGUN,
    BUDGET,
    TORN,
    Entry,
    MechanismRecord,
    SpentRecord,
    What,
)
from braing3n.privacy.ledger_file import RESTORE, alone, append, create, is_begun, read
from braing3n.privacy.ledger_history import Decided, History, split_lines
from braing3n.signing import PublicKey, SigningKey, load_public_key, open_key

FILE_NAME = "ledger.jsonl"
KEY_NAME = "ledger.key"
PUBLIC_NAME = "ledger.pub"

Clock = Callable[[], datetime]

# Clocks are set back by a little all the time. An entry then has the time of the one before.
_MAX_STEP_BACK_S = 120.0


class Ledger(History):
    """A history that can go on. Made by `open_ledger`.

    Every entry is on the disk before its method returns. If a method raises, its entry does not
    count as written. If the disk was the reason, this object writes no more, as nobody knows what
    is on it: the ledger must be opened anew.
    """

    def __init__(self, path: Path, key: SigningKey, clock: Clock) -> None:
        lines, self._torn = split_lines(read(path))
        super().__init__(lines, key.public)
        self._path = path
        self._key = key
        self._clock = clock
        self._is_open = True
        self._size = sum(map(len, lines)) + len(lines)
        if self.findings:
            raise _damaged(path, self)

    def sign(self, content: bytes) -> str:
        """Return the signature of something else than an entry, by the ledger's key."""
        return self._key.sign(content)

    def reserve(
        self, *, run: str, stage: StageName, round_index: int, cohort: str, what: What,
        mechanism: MechanismRecord, spent: SpentRecord, plan_digest: str,
        weights_digest: str | None = None,
    ) -> Entry:
        """Write down what is about to be done; from now on it counts as spent.

        Raises:
            LedgerError: It could not be written, and must not be done.
        """
        return self._append(
            kind="reserve", run=run, stage=stage, round_index=round_index, cohort=cohort, what=what,
            mechanism=mechanism, spent=spent, plan_digest=plan_digest, weights_digest=weights_digest)

    def settle(self, reservation: Entry, *, steps: int, spent: SpentRecord,
               released_digest: str) -> Entry:
        """Write down what was done of a reserve, before it is released.

        Args:
            reservation: What `reserve` returned.
            steps: How often the mechanism was really run, at most as often as reserved.
            spent: What the whole cohort has cost with that.
            released_digest: sha256 of what is released.

        Raises:
            LedgerError: It could not be written, and must not be released.
        """
        done = (None if reservation.mechanism is None else
                reservation.mechanism.model_copy(update={"steps": steps}))
        return self._append(
            kind="settle", run=reservation.run, stage=reservation.stage,
            round_index=reservation.round_index, cohort=reservation.cohort, what=reservation.what,
            mechanism=done, spent=spent, plan_digest=reservation.plan_digest,
            weights_digest=reservation.weights_digest, reserves=reservation.seq,
            released_digest=released_digest)

    def refuse(
        self, code: str, *, run: str, stage: StageName, round_index: int, cohort: str,
        detail: str | None = None, what: What | None = None, mechanism: MechanismRecord | None = None,
        plan_digest: str | None = None, weights_digest: str | None = None,
    ) -> Entry:
        """Write down what was asked for and is not done.

        Raises:
            LedgerError: It could not be written.
        """
        return self._append(
            kind="refuse", code=code, detail=detail, run=run, stage=stage, round_index=round_index,
            cohort=cohort, what=what, mechanism=mechanism, plan_digest=plan_digest,
            weights_digest=weights_digest)

    def note(
        self, code: str, *, detail: str | None = None, run: str | None = None,
        stage: StageName | None = None, round_index: int | None = None, cohort: str | None = None,
        what: What | None = None, plan_digest: str | None = None, weights_digest: str | None = None,
        released_digest: str | None = None, spent: SpentRecord | None = None,
    ) -> Entry:
        """Write down what else an auditor must know, such as a release `without_dp`.

        Raises:
            LedgerError: It could not be written.
        """
        return self._append(
            kind="note", code=code, detail=detail, run=run, stage=stage, round_index=round_index,
            cohort=cohort, what=what, plan_digest=plan_digest, weights_digest=weights_digest,
            released_digest=released_digest, spent=spent)

    def decide(self, cohort: str, limit: Decided) -> Entry:
        """Write down what the hospital has decided that may be spent on a cohort.

        Raises:
            LedgerError: It could not be written.
        """
        return self.note(BUDGET, cohort=cohort,
                         detail=f"epsilon {limit.epsilon!r} delta {limit.delta!r}")

    def _append(self, **fields: Any) -> Entry:
        if not self._is_open:
            raise LedgerError(f"{self._path} is closed", expected="a ledger that was just opened",
                              found="one whose last entry may not be on the disk, or that was left",
                              fix="open it again")
        entry, line = self._signed(fields)
        self._is_open = False  # whatever happens now: only a written line is followed by another
        append(self._path, self._size, line + b"\n")
        self._is_open = True
        self._size += len(line) + 1
        self._take(line, entry)
        return entry

    def _signed(self, fields: dict[str, Any]) -> tuple[Entry, bytes]:
        """Return a next entry with these fields, which keeps all rules, and its line."""
        head = self.head
        try:
            unsigned = Entry(seq=head.seq + 1, prev=head.digest, time=self._time(),
                             key_id=self.public_key.key_id, signature="0" * 128, **fields)
        except ValidationError as error:
            raise LedgerError("this entry cannot be written", expected="fields that fit its kind",
                              found="; ".join(detail["msg"] for detail in error.errors()),
                              fix="this is a mistake in the program; please report it") from error
        line = unsigned.model_copy(update={
            "signature": self._key.sign(unsigned.signed_bytes())}).line()
        entry, findings = self._look(line)
        if entry is None or findings:
            raise LedgerError("this entry cannot be written", expected="one that follows the others",
                              found="; ".join(finding.meaning for finding in findings),
                              fix="this is a mistake in the program; please report it")
        return entry, line

    def _time(self) -> str:
        """Return what time it is, or that of the last entry if the clock was set back by a little."""
        now = self._clock()
        text = to_text(now)
        if not self.entries or text >= self.entries[-1].time:
            return text
        last = self.entries[-1].time
        if (datetime.fromisoformat(last) - now).total_seconds() > _MAX_STEP_BACK_S:
            raise LedgerError("the clock is behind the ledger", expected=f"{last} or later", found=text,
                              fix="set the clock of this machine")
        return last

    def _cut_torn(self) -> None:
        """Cut off a line that was never written in full, and note it, both or neither."""
        if self._torn:
            entry, line = self._signed({
                "kind": "note", "code": TORN, "detail": f"dropped_bytes {len(self._torn)}"})
            content = read(self._path)[:self._size] + line + b"\n"
            create(self._path, content)
            self._size = len(content)
            self._take(line, entry)


@contextmanager
def open_ledger(
    folder: Path, *, trace: Path | None = None, wait_s: float = 10.0,
    clock: Clock = utc_now,
) -> Iterator[Ledger]:
    """Open a site's ledger for writing, and begin one at a new site.

    All of it is verified. A ledger that is gone is an error and not begun anew, as what was spent
    would be forgotten.

    Args:
        folder: The site's own folder.
        trace: What only a site with a ledger has, where it is there; then no other ledger is begun.
        wait_s: How long to wait for another process that has it open.
        clock: What time it is.

    Yields:
        The ledger, which nobody else writes to meanwhile.

    Raises:
        LedgerError: It is damaged, gone or in use, or cannot be written.
        ConfigError: Its key is unusable; see `braing3n.signing.open_key`.
    """
    with alone(folder, wait_s):
        key = _begin(folder, trace)
        ledger = Ledger(folder / FILE_NAME, key, clock)
        ledger._cut_torn()
        if not ledger.entries:
            ledger.note(BEGUN)
        key.publish(folder / PUBLIC_NAME)
        try:
            yield ledger
        finally:
            ledger._is_open = False  # the lock is let go of


def load_history(folder: Path) -> History:
    """Read and verify a site's ledger without its secret key, also while the site writes to it.

    Raises:
        LedgerError: It is damaged, or cannot be read.
        ConfigError: Its public key cannot be read.
    """
    path = folder / FILE_NAME
    return _verified(path, read(path), load_public_key(folder / PUBLIC_NAME))


def load_own_history(folder: Path, *, trace: Path | None = None) -> History | None:
    """Read a site's own ledger by the rules of `open_ledger`, and write nothing.

    Args:
        folder: The site's own folder.
        trace: See `open_ledger`.

    Returns:
        The ledger, which can go on; None where none was begun.

    Raises:
        LedgerError: It is damaged or gone, or its key is.
        ConfigError: Its key is unusable, or another one's.
    """
    path, key_path, public_path = (folder / name for name in (FILE_NAME, KEY_NAME, PUBLIC_NAME))
    if not is_begun(path, key_path, public_path, trace):
        return None
    key = open_key(key_path)
    if public_path.exists():
        key.publish(public_path)
    return _verified(path, read(path), key.public)


def _verified(path: Path, content: bytes, public_key: PublicKey) -> History:
    lines, _ = split_lines(content)
    history = History(lines, public_key)
    if history.findings:
        raise _damaged(path, history)
    return history


def _begin(folder: Path, trace: Path | None) -> SigningKey:
    """Return the ledger's key, after beginning a ledger where there was none."""
    path, key_path, public_path = (folder / name for name in (FILE_NAME, KEY_NAME, PUBLIC_NAME))
    if not is_begun(path, key_path, public_path, trace) and not path.exists():
        create(path, b"")
    key = open_key(key_path)
    if public_path.exists():
        key.publish(public_path)
    return key


def _damaged(path: Path, history: History) -> LedgerError:
    first, rest = history.findings[0], len(history.findings) - 1
    return LedgerError(f"{path} is damaged in line {first.seq + 1}",
                       expected="signed entries, each after the one before",
                       found=first.meaning + (f" (and {rest} more findings)" if rest else ""),
                       fix=RESTORE)
