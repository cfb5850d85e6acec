"""Records of rounds as the coordinator signs them: one chain a run, which sites and auditors check."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from braing3n.errors import ProtocolError
from braing3n.files import ZEROS, canonical_json, digest_bytes
from braing3n.protocol import RecordSeen, RoundRecord
from braing3n.signing import PublicKey, SigningKey

FILE_NAME = "round_records.jsonl"  # in a run's folder; in a site's, of all its runs
_RESTORE = "restore it: every site has kept those that it was sent, in its own round_records.jsonl"


def sign_record(key: SigningKey, **fields: Any) -> RoundRecord:
    """Return a record, signed by the coordinator's key; `fields` are those of `RoundRecord`."""
    unsigned = RoundRecord(**fields, public_key=key.public.text, signature="0")
    return unsigned.model_copy(update={"signature": key.sign(_signed(unsigned))})


def check_record(record: RoundRecord) -> None:
    """Check that a record is signed by the key that it names.

    Raises:
        ProtocolError: It is not.
    """
    if not PublicKey.from_text(record.public_key).verify(_signed(record), record.signature):
        raise ProtocolError("a round record has a wrong signature", found="another",
                            expected="one by the key that it names", fix="ask the coordinator")


def record_line(record: RoundRecord) -> bytes:
    """Return the line of round_records.jsonl that a record is, without its end."""
    return canonical_json(record.model_dump(mode="json"))


def record_digest(record: RoundRecord | None) -> str:
    """Return what the next record names as `previous`; zeros before the first."""
    return ZEROS if record is None else digest_bytes(record_line(record))


def seen_of(record: RoundRecord | None) -> RecordSeen | None:
    """Return how a site says which record it was sent."""
    return None if record is None else RecordSeen(number=record.number, digest=record_digest(record))


def read_record(line: bytes) -> RoundRecord:
    """Read and check the line of a record.

    Raises:
        ProtocolError: It is none, is written another way, or has a wrong signature.
    """
    try:
        record = RoundRecord.model_validate_json(line)
    except ValidationError as error:
        raise ProtocolError("a round record cannot be read", expected="one as this version writes it",
                            found="other content", fix=_RESTORE) from error
    if record_line(record) != line:
        raise ProtocolError("a round record is not written in the one way for what it says",
                            expected="canonical JSON", found="another form", fix=_RESTORE)
    check_record(record)
    return record


def read_records(lines: Iterable[bytes]) -> Iterator[RoundRecord]:
    """Give the records of one run from its first on, and check each and their order.

    Raises:
        ProtocolError: A line is no record, or does not go on from the one before: by number, digest,
            run, plan or key.
    """
    before: RoundRecord | None = None
    for line in lines:
        record = read_record(line)
        if (record.number, record.previous) != (_next(before), record_digest(before)):
            raise ProtocolError(f"line {_next(before) + 1} is not where it was written",
                                expected=f"record {_next(before)}, after the one before",
                                found="another place", fix=_RESTORE)
        if before is not None and _whose(record) != _whose(before):
            raise ProtocolError(f"line {record.number + 1} is of another run, plan or key",
                                expected="those of the lines before", found="others", fix=_RESTORE)
        yield record
        before = record


def _next(before: RoundRecord | None) -> int:
    return 0 if before is None else before.number + 1


def _whose(record: RoundRecord) -> tuple[str, str, str]:
    return record.run, record.plan_digest, record.public_key


def _signed(record: RoundRecord) -> bytes:
    return canonical_json(record.model_dump(mode="json", exclude={"signature"}))
