"""Receipts: what the coordinator was shown of each site's ledger, and whether it is there still."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braing3n.audit.findings import Finding
from braing3n.audit.ledger_line import ZEROS, Seen, encode, is_signed
from braing3n.errors import LedgerError

PUBLIC_NAME = "receipts.pub"
_KEY = re.compile("ed25519:([0-9a-f]{64})")
_DIGEST = re.compile("[0-9a-f]{64}")
_RUN, _SITE = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,79}"), re.compile("[a-z0-9][a-z0-9-]{0,39}")
_CLAIM = {"seq": int, "digest": str, "anchor_seq": int, "anchor_digest": str, "public_key": str,
          "signature": str}
_RECEIPT = {"number": int, "previous": str, "run": str, "site": str, "claim": dict, "public_key": str,
            "signature": str}


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt that could be read.

    Attributes:
        digest: sha256 of its line.
        number: Of the run's receipts, from 0.
        previous: Digest of the one before.
        run: The run.
        site: Whose head it is.
        seq: The entry that was shown.
        head: Its sha256.
        site_key: The raw key of that ledger.
        key: The coordinator's, as text.
    """

    digest: str
    number: int
    previous: str
    run: str
    site: str
    seq: int
    head: str
    site_key: bytes
    key: str

    @property
    def name(self) -> str:
        """What it is called in findings."""
        return f"receipt {self.number} of run {self.run}"


@dataclass(frozen=True)
class ReceiptFile:
    """A file of receipts: the coordinator's own, or what a site has kept of it.

    Attributes:
        path: The file.
        receipts: Those that hold by themselves.
        findings: What is wrong with the others, and with their order.
        coordinators_key: What the public key beside it says; None where there is none. With one, the
            file is the coordinator's own, and none of its receipts may be missing.
    """

    path: Path
    receipts: tuple[Receipt, ...]
    findings: tuple[Finding, ...]
    coordinators_key: str | None


def read_receipts(path: Path) -> ReceiptFile:
    """Read a file of receipts, and check each of them and their chain.

    Raises:
        LedgerError: It cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LedgerError(f"{path} cannot be read", expected="a receipts.jsonl",
                          found=error.strerror or type(error).__name__,
                          fix="name the file, and see that it may be read") from error
    *lines, torn = content.split(b"\n")
    found, findings = [], []
    for number, line in enumerate(lines):
        try:
            found.append(_receipt(line))
        except _WrongError as wrong:
            findings.append(Finding(wrong.code, None, f"{path.name}, line {number + 1} {wrong}"))
    if torn:
        findings.append(Finding("receipt_malformed", None, f"{path.name} ends in half a line"))
    key = _key_beside(path)
    findings += _check_chain(path.name, found, is_coordinators=key is not None)
    if key is not None:
        findings += _check_key(path.name, key, found)
    return ReceiptFile(path, tuple(found), tuple(findings), key)


def between_files(files: Sequence[ReceiptFile]) -> Iterator[Finding]:
    """Find what several parties' receipts say differently of the same."""
    first: dict[tuple[str, int], tuple[Receipt, ReceiptFile]] = {}
    keys: dict[str, str] = {}
    for file in files:
        for receipt in file.receipts:
            other, where = first.setdefault((receipt.run, receipt.number), (receipt, file))
            if other.digest != receipt.digest:
                yield Finding("receipt_fork", None, f"{receipt.name} is another one in {file.path} "
                              f"than in {where.path}")
            if keys.setdefault(receipt.run, receipt.key) != receipt.key:
                yield Finding("receipt_key", None, f"{receipt.name} in {file.path} is by another key "
                              "than others of the run")
    yield from _withheld(files)


def _withheld(files: Sequence[ReceiptFile]) -> Iterator[Finding]:
    """Find receipts that somebody else has, and the coordinator's own file has not."""
    keys = {file.coordinators_key for file in files}
    own = {(file.coordinators_key, receipt.run, receipt.number)
           for file in files if file.coordinators_key is not None for receipt in file.receipts}
    told: set[str] = set()
    for file in files:
        for receipt in file.receipts:
            if (receipt.key in keys and receipt.run not in told
                    and (receipt.key, receipt.run, receipt.number) not in own):
                told.add(receipt.run)
                yield Finding("receipt_chain", None, f"{receipt.name} is in {file.path}, and not in "
                              "the coordinator's own file")


def hold(seen: Sequence[Seen], key: bytes, site: str | None, receipts: Sequence[Receipt],
         ) -> Iterator[Finding]:
    """Find receipts for heads that a ledger does not have.

    Args:
        seen: The ledger's lines.
        key: Its raw public key.
        site: The site's agreed name, where it is known.
        receipts: All that there are, of any site.
    """
    own = {receipt.digest: receipt for receipt in receipts if receipt.site_key == key}.values()
    digests = {one.digest for one in seen}
    numbers = {one.line.seq for one in seen if one.line is not None}
    gone = sorted((one for one in own if one.head not in digests), key=lambda one: one.seq)
    later = [one for one in gone if one.seq > max(numbers, default=-1)]
    if later:
        yield Finding("truncated", None, f"{later[-1].name} is for entry {later[-1].seq}, and the last "
                      f"one here is {max(numbers, default='none')}"
                      f"{_and_others(len(later) - 1)}")
    for code, found in (("forked", [one for one in gone if one.seq in numbers]),
                        ("deleted", [one for one in gone if one not in later
                                     and one.seq not in numbers])):
        if found:
            where = "another one stands here" if code == "forked" else "it is not here"
            yield Finding(code, found[0].seq, f"{found[0].name} is for entry {found[0].seq}, and "
                          f"{where}{_and_others(len(found) - 1)}")
    if site is not None:
        others = {one.site_key: one for one in receipts if one.site == site and one.site_key != key}
        for other in others.values():
            yield Finding("other_key", None, f"{other.name} is for a ledger of {site} by another key")


def _and_others(number: int) -> str:
    return f" (and so for {number} more receipts)" if number else ""


def replaced(seen: Sequence[Seen], key: bytes, keys: Collection[bytes], receipts: Sequence[Receipt],
             ) -> Iterator[Finding]:
    """Find a ledger with work that nobody gave a receipt for, where a receipted one is not here.

    Args:
        seen: The ledger's lines.
        key: Its raw public key.
        keys: Those of all ledgers that are here.
        receipts: All that there are.
    """
    has_work = any(one.line is not None and one.line.kind == "reserve" for one in seen)
    absent = sorted({receipt.site for receipt in receipts if receipt.site_key not in keys})
    if has_work and absent and all(receipt.site_key != key for receipt in receipts):
        yield Finding("unreceipted", None, "no receipt is for this ledger, though work is in it, and "
                      f"receipts are for a ledger of {' or '.join(absent[:5])} that was not given")


class _WrongError(Exception):
    """A receipt that says nothing; the text says why, with nothing of its content."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


def _receipt(line: bytes) -> Receipt:
    try:
        fields: Any = json.loads(line)
        is_same = encode(fields) == line
    except (ValueError, RecursionError, TypeError):
        raise _WrongError("receipt_malformed", "is no JSON") from None
    if not is_same:
        raise _WrongError("receipt_malformed", "is not written in the one way for what it says")
    claim: Any = fields.get("claim") if type(fields) is dict else None
    if not _has(fields, _RECEIPT) or not _has(claim, _CLAIM) or claim["seq"] < 0 or not (
            _RUN.fullmatch(fields["run"]) and _SITE.fullmatch(fields["site"])):
        raise _WrongError("receipt_malformed", "is no receipt")
    site_key, key = _raw(claim["public_key"]), _raw(fields["public_key"])
    claimed = {"site": fields["site"], **{name: claim[name] for name in _CLAIM if name != "signature"}}
    if not is_signed(encode(claimed), claim["signature"], site_key):
        raise _WrongError("receipt_claim", "has a claim that its site has not signed")
    unsigned = {name: value for name, value in fields.items() if name != "signature"}
    if not is_signed(encode(unsigned), fields["signature"], key):
        raise _WrongError("receipt_signature", "is not what the coordinator's key has signed")
    return Receipt(hashlib.sha256(line).hexdigest(), fields["number"], fields["previous"],
                   fields["run"], fields["site"], claim["seq"], claim["digest"], site_key,
                   fields["public_key"])


def _has(fields: Any, kinds: dict[str, type]) -> bool:
    return type(fields) is dict and fields.keys() == kinds.keys() and all(
        type(fields[name]) is kind and (kind is not int or fields[name] >= -1)
        for name, kind in kinds.items()) and all(
        _DIGEST.fullmatch(fields[name]) for name in ("digest", "anchor_digest", "previous")
        if name in kinds)


def _raw(text: str) -> bytes:
    match = _KEY.fullmatch(text)
    if match is None:
        raise _WrongError("receipt_malformed", "has a key that cannot be read")
    return bytes.fromhex(match[1])


def _key_beside(path: Path) -> str | None:
    """Return what the public key beside a file says; None where there is none."""
    public = path.parent / PUBLIC_NAME
    try:
        return public.read_text(encoding="ascii").strip() if public.exists() else None
    except (OSError, ValueError):
        return ""


def _check_key(name: str, key: str, receipts: Iterable[Receipt]) -> Iterator[Finding]:
    """Find receipts that are not by the key that lies beside their file."""
    for receipt in receipts:
        if receipt.key != key:
            yield Finding("receipt_key", None, f"{name}: {receipt.name} is by another key than "
                          f"{PUBLIC_NAME} has")


def _check_chain(name: str, receipts: Sequence[Receipt], *, is_coordinators: bool) -> Iterator[Finding]:
    """Find receipts that do not follow one another.

    A site keeps what it was sent: of each run some, in any order. The coordinator has them all.
    """
    runs: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        runs.setdefault(receipt.run, []).append(receipt)
    for run, own in runs.items():
        if not is_coordinators:
            own.sort(key=lambda receipt: receipt.number)
        number, digest = -1, ZEROS
        for receipt in own:
            follows = receipt.number == number + 1
            if (follows and receipt.previous != digest) or (is_coordinators and not follows):
                yield Finding("receipt_chain", None, f"{name}: {receipt.name} does not follow receipt "
                              f"{number}" if number >= 0 else
                              f"{name}: run {run} does not begin with receipt 0")
            number, digest = receipt.number, receipt.digest
