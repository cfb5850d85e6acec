"""Reading a whole ledger: lines of any number, looked at by all cores, with little memory."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from braing3n.audit.findings import Finding
from braing3n.audit.ledger_line import MAX_BYTES, Seen, look_at
from braing3n.errors import LedgerError

_TOGETHER = 1000  # lines
_ALONE = 2 * _TOGETHER  # so few are not worth starting processes for
_BLOCK = 1 << 20


class Batch(NamedTuple):
    """Lines that follow one another."""

    first: int
    lines: list[bytes]


def read_ledger(path: Path, key: bytes | None) -> tuple[list[Seen], list[Finding]]:
    """Return what each line of a ledger turned out to be, and what is wrong with its end.

    Args:
        path: The ledger.
        key: The raw public key; None does not look at signatures.

    Raises:
        LedgerError: It cannot be read.
    """
    torn: list[bytes] = []
    batches = _batches(path, torn)
    early = [next(batches, None) for _ in range(_ALONE // _TOGETHER)]
    found: list[Seen] = []
    for batch in early:
        found += [] if batch is None else look_at_batch(batch, key)
    if early[-1] is not None:
        found += _together(batches, key)
    if not torn:
        return found, []
    return found, [Finding("unfinished", len(found), f"line {len(found) + 1} has no end")]


def look_at_batch(batch: Batch, key: bytes | None) -> list[Seen]:
    """Look at several lines."""
    return [look_at(number, line, key) for number, line in enumerate(batch.lines, batch.first)]


def _together(batches: Iterator[Batch], key: bytes | None) -> list[Seen]:
    """Look at batches in processes, a few of them waiting at once."""
    found: list[Seen] = []
    workers = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    with ProcessPoolExecutor(workers) as pool:
        waiting: deque[Future[list[Seen]]] = deque()
        for batch in batches:
            waiting.append(pool.submit(look_at_batch, batch, key))
            if len(waiting) > 2 * (workers or 1):
                found += waiting.popleft().result()
        for future in waiting:
            found += future.result()
    return found


def _batches(path: Path, torn: list[bytes]) -> Iterator[Batch]:
    """Give the lines of a file in their order; what follows the last end is put into `torn`."""
    first, lines, rest = 0, [], b""
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                *whole, rest = (rest + block).split(b"\n")
                rest = rest[: 2 * MAX_BYTES]  # a line without end says nothing more
                lines += whole
                while len(lines) >= _TOGETHER:
                    yield Batch(first, lines[:_TOGETHER])
                    first, lines = first + _TOGETHER, lines[_TOGETHER:]
    except OSError as error:
        raise LedgerError(f"{path} cannot be read", expected="a site's ledger.jsonl",
                          found=error.strerror or type(error).__name__,
                          fix="name the file, and see that it may be read") from error
    if lines:
        yield Batch(first, lines)
    if rest:
        torn.append(rest)
