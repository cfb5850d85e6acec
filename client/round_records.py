"""A site's side of round records: kept, never older than before, and held to what left the site."""

from collections.abc import Mapping

from pydantic import ValidationError

from braing3n.errors import OutputError, ProtocolError, ReplayError
from braing3n.files import append_text, cut_unfinished, whole_lines
from braing3n.manifests import Manifest
from braing3n.protocol import RoundRecord, Task, What
from braing3n.round_records import FILE_NAME, check_record, record_digest, record_line
from client.egress_log import LOG_NAME
from client.receipts import kept_receipts
from client.site import Site

# What a site was asked for, in the transport's messages and so in its manifests.
_KINDS: Mapping[What, str] = {
    "training": "train.{stage}", "evaluation": "evaluate", "statistics": "query.moments"}


def take_record(site: Site, task: Task) -> None:
    """Keep the record that came with a task, after holding it to those that came before.

    The first record of a run fixes the key of its coordinator, where no receipt has done so.

    Args:
        site: The site.
        task: The task; nothing was done for it yet, and nothing charged.

    Raises:
        ProtocolError: The record is not signed, of another run or plan or by another key; or another
            one has its number, or comes before it: the coordinator tells sites different things.
        ReplayError: It is older than one that the site has of this run, or there is none where
            there was one.
        OutputError: What the site has kept is damaged.
        LedgerError: Its receipts are.
    """
    kept = kept_records(site, task.run)
    last = kept[-1] if kept else None
    if task.record is None:
        if last is not None:
            raise _older(last, "a task without a record")
        return
    _check(site, task, task.record, last)
    if last is not None and last.number == task.record.number:
        return
    _append(site, task.record)
    _tell_of_false_claim(site, task.record)


def kept_records(site: Site, run: str) -> list[RoundRecord]:
    """Return the records that this site has of a run; a last line that was not finished is passed over.

    Raises:
        OutputError: They are damaged.
    """
    path = site.config.state_dir / FILE_NAME
    try:
        every = [RoundRecord.model_validate_json(line) for line in whole_lines(path)]
    except ValidationError as error:
        raise OutputError(f"{path} is damaged", expected="round records, one a line",
                          found="other content", fix="restore it from a backup; or move it away: what "
                          "the coordinator said of rounds before cannot be held against it then"
                          ) from error
    return [record for record in every if record.run == run]


def _check(site: Site, task: Task, record: RoundRecord, last: RoundRecord | None) -> None:
    """Check a record by itself, and against the last that the site has of the run."""
    check_record(record)
    if (record.run, record.plan_digest) != (task.run, task.plan_digest):
        raise _refuse("of another run or plan", f"one of {task.run}", record.run)
    keys = {receipt.public_key for receipt in (*kept_receipts(site), *task.receipts)
            if receipt.run == task.run} | ({last.public_key} if last is not None else set())
    if keys - {record.public_key}:
        raise _refuse("not by this run's coordinator", "the key that the run began with", "another")
    if last is None:
        return
    if record.number < last.number:
        raise _older(last, f"record {record.number}")
    if record.number == last.number and record != last:
        raise _refuse("another one than this site was sent before", record_digest(last),
                      record_digest(record))
    if record.number == last.number + 1 and record.previous != record_digest(last):
        raise _refuse("not after the one that this site was sent before", record_digest(last),
                      record.previous)


def _append(site: Site, record: RoundRecord) -> None:
    """Add a record at the end, after cutting off a line that was not finished."""
    path = site.config.state_dir / FILE_NAME
    cut_unfinished(path)
    append_text(path, record_line(record).decode() + "\n")


def _tell_of_false_claim(site: Site, record: RoundRecord) -> None:
    """Tell the site's people where a record has an answer of this site that never left it.

    It is no reason to refuse: the log may have been begun anew, and others look at it as well.
    """
    if site.config.name in record.answered and not _has_left(site, record):
        site.log(f"round record {record.number} of run {record.run} says that this site answered "
                 f"({record.what}, {record.stage}, round_index {record.round_index}), and {LOG_NAME} "
                 "has no such answer. Ask the coordinator, and keep both files")


def _has_left(site: Site, record: RoundRecord) -> bool:
    """Tell whether the log of what left has the answer that a record tells of.

    It is read from its end, where the answer to the last round stands; a line that cannot be read is
    no answer, and `site outbox` says what is wrong with it.
    """
    kind = _KINDS[record.what].format(stage=record.stage)
    place = (kind, record.run, record.stage, record.round_index)
    of_run = f'"run":"{record.run}"'.encode()  # lines are long, and of all runs of the site
    for line in reversed(whole_lines(site.config.state_dir / LOG_NAME)):
        if of_run not in line:
            continue
        try:
            sent = Manifest.model_validate_json(line)
        except ValidationError:
            continue
        # Without tensors it asked for a frozen part, which is no answer; an evaluation has none.
        if (sent.kind, sent.run, sent.stage, sent.round_index) == place and (
                sent.tensors or record.what == "evaluation"):
            return True
    return False


def _older(last: RoundRecord, found: str) -> ReplayError:
    return ReplayError("the coordinator goes back in its run's records", found=found,
                       expected=f"record {last.number}, which this site was sent, or a later one",
                       fix="ask the coordinator: its run's folder may be an old copy from a backup")


def _refuse(what: str, expected: str, found: str) -> ProtocolError:
    return ProtocolError(f"a round record is {what}", expected=expected, found=found,
                         fix=f"ask the coordinator, and keep {FILE_NAME}; nothing was spent")
