"""The coordinator's records of rounds: signed, in one chain, on the disk before the next round."""

from pathlib import Path

from braing3n.errors import OutputError, ProtocolError
from braing3n.files import append_text, cut_unfinished, whole_lines
from braing3n.moments import to_text, utc_now
from braing3n.protocol import LOSSES, RoundRecord, Task, What, fixed_word
from braing3n.round_records import FILE_NAME, read_records, record_digest, record_line, sign_record
from braing3n.signing import SigningKey
from braing3n.weights import State, digest_state
from server.outcome import Round
from server.receipts import open_run_key


class RoundBook:
    """What came of each round of a run. Kept in the run's folder; it goes on after a crash.

    A round that is run again, as its checkpoint was not written, gets a second record: the chain is
    only added to.

    Args:
        folder: The run's folder.
        run: The run's id.

    Raises:
        OutputError: The records there are damaged, or not of this run.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._run = run
        self._key: SigningKey | None = None
        self._last = _load(folder / FILE_NAME, run)

    @property
    def latest(self) -> RoundRecord | None:
        """The newest record, which goes with every task; None before the first round is over."""
        return self._last

    def add(self, what: What, task: Task, outcome: Round, result: State | None) -> RoundRecord:
        """Sign and keep what came of a round; it is on the disk before this returns.

        Args:
            what: What the sites were asked for.
            task: The task that they were sent.
            outcome: What came of it.
            result: The weights that the record names; None where there are none.

        Raises:
            OutputError: The run's key is not the one that its records are signed by.
            ConfigError: That key is unusable.
        """
        if self._key is None:
            self._key = _checked(open_run_key(self._folder), self._last)
        record = sign_record(
            self._key, number=0 if self._last is None else self._last.number + 1,
            previous=record_digest(self._last), run=self._run, plan_digest=task.plan_digest, what=what,
            stage=task.stage, round_index=task.round_index, asked=tuple(sorted(outcome.asked)),
            answered=outcome.answered, refused={site: fixed_word(word, LOSSES)
                                                for site, word in outcome.refused.items()},
            result=None if result is None else digest_state(result), time=to_text(utc_now()))
        append_text(self._folder / FILE_NAME, record_line(record).decode() + "\n")
        self._last = record
        return record


def _checked(key: SigningKey, last: RoundRecord | None) -> SigningKey:
    """Return the run's key, if its records are signed by it: sites take no other."""
    if last is not None and key.public.text != last.public_key:
        raise OutputError("the run's key is not the one that its round records are signed by",
                          expected=last.public_key, found=key.public.text,
                          fix="restore receipts.key in the run's folder from a backup, or begin anew "
                              "with another --out")
    return key


def _load(path: Path, run: str) -> RoundRecord | None:
    """Check all records, and return the last; a line that was not finished is cut off."""
    last: RoundRecord | None = None
    try:
        for last in read_records(whole_lines(path)):
            if last.run != run:
                raise ProtocolError("the records are of another run", expected=run, found=last.run,
                                    fix="restore those of this run")
    except ProtocolError as error:
        raise OutputError(f"{path} is damaged", expected="signed records, each after the one before",
                          found=error.what, fix=error.fix) from error
    cut_unfinished(path)
    return last
