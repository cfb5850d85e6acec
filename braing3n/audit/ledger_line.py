"""One line of a site's ledger, as an auditor reads it.

This is a reader of its own. It shares no code with what sites write ledgers by, so that a mistake
there is not made here again; a test holds the two to each other. docs/privacy-budget.md has the format.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from braing3n.audit.findings import Finding
from braing3n.audit.ledger_fields import check_fields, check_mechanism, check_spent

MAX_BYTES = 4096
ZEROS = "0" * 64
# Texts that several lines have alike (`prev` is the digest of another): one copy of each is kept.
_REPEATED = frozenset({"prev", "time", "kind", "run", "stage", "cohort", "what", "plan_digest",
                       "weights_digest", "code", "detail"})


class Mechanism(NamedTuple):
    """How something was noised: q, σ, how often, and what else the line says of it."""

    name: str
    sample_rate: float
    noise_multiplier: float
    steps: int
    clip_norm: float
    unit: str
    num_subjects: int
    views: int | None = None
    engine: str | None = None


class Claimed(NamedTuple):
    """What the site says that a cohort has cost so far."""

    pld: float
    rdp: float
    delta: float
    prv: float | None = None


class Line(NamedTuple):
    """What a line says, but for who signed it. Tuples, as there may be a hundred thousand."""

    seq: int
    prev: str
    time: str
    kind: str
    run: str | None = None
    stage: str | None = None
    round_index: int | None = None
    cohort: str | None = None
    what: str | None = None
    mechanism: Mechanism | None = None
    spent: Claimed | None = None
    plan_digest: str | None = None
    weights_digest: str | None = None
    reserves: int | None = None
    released_digest: str | None = None
    code: str | None = None
    detail: str | None = None

    @property
    def release(self) -> tuple[str | None, str | None, int | None, str | None]:
        """What it is about: run, stage, round, and what is released."""
        return self.run, self.stage, self.round_index, self.what

    @property
    def is_without_dp(self) -> bool:
        """Whether it notes a release without differential privacy, which leaves its cohort no ε."""
        return (self.kind, self.code) == ("note", "without_dp")


class Seen(NamedTuple):
    """What a line turned out to be.

    Attributes:
        digest: sha256 of its bytes.
        line: What it says; None where it cannot be read.
        findings: What is wrong with it by itself.
    """

    digest: str
    line: Line | None
    findings: tuple[Finding, ...] = ()


def look_at(number: int, content: bytes, key: bytes | None) -> Seen:
    """Read one line, without its end, and check its form and its signature.

    Args:
        number: Of the line, from 0.
        content: The line.
        key: The raw public key that the ledger is to be signed by; None does not look.
    """
    digest = sys.intern(hashlib.sha256(content).hexdigest())
    try:
        fields = _read(content)
    except ValueError as error:
        return Seen(digest, None, (Finding("malformed", number, f"line {number + 1} {error}"),))
    findings = []
    if key is not None and fields["key_id"] != hashlib.sha256(key).hexdigest():
        findings.append(Finding("key", number, f"entry {number} names another key"))
    elif key is not None and not _is_signed(content, fields["signature"], key):
        findings.append(Finding("edited", number, f"entry {number} is not what its key has signed"))
    return Seen(digest, _line(fields), tuple(findings))


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return the one byte string that stands for JSON fields: sorted keys, no blanks, UTF-8."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False,
                      allow_nan=False).encode()


def is_signed(content: bytes, signature: str, key: bytes) -> bool:
    """Tell whether a signature of 128 hexadecimal digits is this key's for the content."""
    try:
        _opened(key).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=64)
def _opened(key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(key)


def _is_signed(content: bytes, signature: str, key: bytes) -> bool:
    # Keys are in order and `key_id` comes before: what is signed is the line without this part.
    part = f',"signature":"{signature}"'.encode()
    return is_signed(content.replace(part, b"", 1), signature, key)


def _read(content: bytes) -> dict[str, Any]:
    """Return a line's fields.

    Raises:
        ValueError: It is not exactly one entry; says why, with nothing of the content.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"has more than {MAX_BYTES} bytes")
    try:
        fields = json.loads(content)
        same = encode(fields) == content
    except (ValueError, RecursionError, TypeError):
        raise ValueError("is no JSON") from None
    if type(fields) is not dict or not same:
        raise ValueError("is not written in the one way for what it says (other blanks or line ends, "
                         "too)")
    check_fields(fields)
    if "mechanism" in fields:
        # With their types, as 1 and 1.0 are alike to a cache.
        parts = tuple((name, type(value), value) for name, value in fields["mechanism"].items())
        if any(kind not in (str, int, float) for _, kind, _ in parts):
            raise ValueError("has a parameter that is neither a number nor a word")
        fields["mechanism"] = _mechanism(parts)
    if "spent" in fields:
        check_spent(fields["spent"])
    return fields


@lru_cache(maxsize=4096)
def _mechanism(parts: tuple[tuple[str, type, Any], ...]) -> Mechanism:
    """Return how something was noised: a ledger has few of them, so that each is checked once."""
    fields = {name: value for name, _, value in parts}
    check_mechanism(fields)
    return Mechanism(**fields)


def _line(fields: dict[str, Any]) -> Line:
    del fields["key_id"], fields["signature"]
    for name in _REPEATED & fields.keys():
        fields[name] = sys.intern(fields[name])
    if "spent" in fields:
        fields["spent"] = Claimed(**fields["spent"])
    return Line(**fields)
