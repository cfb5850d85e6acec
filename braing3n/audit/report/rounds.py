"""Signed round records in a run's folder: whether they are a whole chain, by the run's own key."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from braing3n.errors import ProtocolError
from braing3n.files import whole_lines
from braing3n.protocol import RoundRecord
from braing3n.round_records import FILE_NAME, read_records

PUBLIC_NAME = "receipts.pub"  # the coordinator has one key a run, for receipts and for these


@dataclass(frozen=True)
class Rounds:
    """A run's round records.

    Attributes:
        records: All of them; none where one does not hold.
        fault: What is wrong with the first that does not; empty where all hold.
    """

    records: tuple[RoundRecord, ...]
    fault: str


def load_rounds(run: Path) -> Rounds | None:
    """Read the records of a run's folder, and check each and their chain; None where there is no file.

    A last line without its end, which a coordinator leaves that was killed, is passed over.
    """
    path = run / FILE_NAME
    if not path.exists():
        return None
    try:
        return Rounds(tuple(_checked(run, read_records(whole_lines(path)))), "")
    except ProtocolError as error:
        return Rounds((), error.what)


def _checked(run: Path, records: Iterator[RoundRecord]) -> Iterator[RoundRecord]:
    """Give records by the run's own key, as far as that lies beside them."""
    path = run / PUBLIC_NAME
    key = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else None
    for record in records:
        if key not in (None, record.public_key):
            raise ProtocolError(f"record {record.number} is not by the key in {PUBLIC_NAME}",
                                expected=str(key), found=record.public_key, fix="ask the coordinator")
        yield record
