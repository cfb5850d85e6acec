"""One line of a ledger: what it says, and the one byte string that says it."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from braing3n.budget import EngineName
from braing3n.errors import LedgerError
from braing3n.files import ZEROS, canonical_json, digest_bytes
from braing3n.plan import StageName
from braing3n.privacy.events import Event, MechanismName
from braing3n.privacy_plan import MIN_DELTA, NoiseMultiplier
from braing3n.yaml_files import Digest, StrictModel

Kind = Literal["reserve", "settle", "refuse", "note"]
What = Literal["update", "moments", "metrics", "counts"]

MAX_LINE_BYTES = 4096

# Codes of notes that the ledger itself understands; others are words of whoever writes them.
BEGUN = "begun"
TORN = "torn"
WITHOUT_DP = "without_dp"
BUDGET = "budget"

_MAX_COUNT = 2**53  # JSON readers in other languages keep integers exact up to here
_NUMBER = r"-?[0-9]{1,9}(\.[0-9]{1,17})?(e[+-]?[0-9]{1,3})?"
_DETAIL = re.compile(rf"[a-z][a-z_]{{0,23}}( ([a-z][a-z_]{{0,23}}|{_NUMBER})){{0,11}}")

_WORK = frozenset({"run", "stage", "round_index", "cohort"})
_COST = _WORK | {"what", "mechanism", "spent", "plan_digest"}
_NEEDED: Mapping[Kind, frozenset[str]] = {
    "reserve": _COST,
    "settle": _COST | {"reserves", "released_digest"},
    "refuse": _WORK | {"code"},
    "note": frozenset({"code"}),
}
_ALLOWED: Mapping[Kind, frozenset[str]] = {
    "reserve": frozenset({"weights_digest"}),
    "settle": frozenset({"weights_digest"}),
    "refuse": frozenset({"what", "mechanism", "plan_digest", "weights_digest", "detail"}),
    "note": _WORK | {"what", "plan_digest", "weights_digest", "spent", "released_digest", "detail"},
}
_ALWAYS = frozenset({"seq", "prev", "time", "kind", "key_id", "signature"})

Positive = Annotated[float, Field(gt=0)]
Epsilon = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=_MAX_COUNT)]
Index = Annotated[int, Field(ge=0, le=_MAX_COUNT)]


class MechanismRecord(StrictModel):
    """How something was noised: all that anybody needs to compute its ε again.

    Attributes:
        name: See `braing3n.privacy.events`.
        sample_rate: q; 1 for `gaussian`.
        noise_multiplier: σ: deviation of the noise over `clip_norm`.
        steps: How often.
        clip_norm: C: what one subject can change of a step's sum, as L2 norm.
        unit: What one of is protected.
        views: K: volumes × masks of a subject that count as one; only of training steps.
        engine: How clipped sums are computed; only of training steps.
        num_subjects: The public number that sums are divided by; never the site's own.
    """

    name: MechanismName
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: NoiseMultiplier
    steps: Count
    clip_norm: Positive
    unit: Literal["subject"] = "subject"
    views: Count | None = None
    engine: EngineName | None = None
    num_subjects: Count

    @model_validator(mode="after")
    def _what_the_mechanism_needs(self) -> "MechanismRecord":
        if self.name == "gaussian" and self.sample_rate != 1:
            raise ValueError("sample_rate 1 for gaussian")
        if self.name == "poisson_gaussian" and (self.views is None or self.engine is None):
            raise ValueError("views and engine for poisson_gaussian")
        return self


class SpentRecord(StrictModel):
    """What a cohort has cost so far, by three accountants, with this entry.

    Attributes:
        pld: ε by privacy loss distributions: the number that is stated.
        rdp: ε by Rényi accounting.
        prv: ε by the PRV accountant, where it gives one.
        delta: δ of all three.
    """

    pld: Epsilon
    rdp: Epsilon
    prv: Epsilon | None = None
    delta: Annotated[float, Field(ge=MIN_DELTA, lt=1)]


class Head(StrictModel):
    """How far a ledger goes.

    Attributes:
        seq: Number of its last entry; -1 where there is none.
        digest: The sha256 of that entry's line; it stands for all lines before as well.
    """

    seq: Annotated[int, Field(ge=-1, le=_MAX_COUNT)]
    digest: Digest


NOTHING = Head(seq=-1, digest=ZEROS)


class Entry(StrictModel):
    """One entry. Its line is the canonical JSON of what is not None, with the signature.

    Attributes:
        seq: Its number, from 0.
        prev: The sha256 of the line before, without its end; zeros in the first.
        time: When it was written, UTC.
        kind: `reserve`: what is about to be done, before it is done. `settle`: what was done of a
            reserve and is released. `refuse`: what was asked for and not done. `note`: what else
            an auditor must know.
        run: The run's id.
        stage: The stage.
        round_index: The round, from 0.
        cohort: The site's name for the patients concerned.
        what: What is released.
        mechanism: How it is noised.
        spent: What the whole cohort has cost with this entry.
        plan_digest: The run's plan.
        weights_digest: The global weights that came with the task.
        reserves: For a settle: number of the reserve.
        released_digest: sha256 of what was released.
        code: For a refusal or a note: its fixed word.
        detail: For a refusal or a note: lower-case words and numbers. Never a path, never an id.
        key_id: The key that signed; see `braing3n.signing`.
        signature: Of the canonical JSON of everything else.
    """

    seq: Index
    prev: Digest
    time: Annotated[str, Field(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$")]
    kind: Kind
    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")] | None = None
    stage: StageName | None = None
    round_index: Index | None = None
    cohort: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    what: What | None = None
    mechanism: MechanismRecord | None = None
    spent: SpentRecord | None = None
    plan_digest: Digest | None = None
    weights_digest: Digest | None = None
    reserves: Index | None = None
    released_digest: Digest | None = None
    code: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")] | None = None
    detail: str | None = None
    key_id: Digest
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    @field_validator("time")
    @classmethod
    def _a_time_that_there_is(cls, time: str) -> str:
        datetime.fromisoformat(time)
        return time

    @field_validator("detail")
    @classmethod
    def _words_and_numbers(cls, detail: str | None) -> str | None:
        if detail is not None and _DETAIL.fullmatch(detail) is None:
            raise ValueError("at most 12 lower-case words and numbers")
        return detail

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> "Entry":
        given = {name for name, value in vars(self).items() if value is not None} - _ALWAYS
        needed = _NEEDED[self.kind]
        if self.code == WITHOUT_DP and self.kind == "note":
            needed = needed | _WORK  # a release without DP is one on a cohort, in a round
        if needed - given:
            raise ValueError(f"a {self.kind} with {', '.join(sorted(needed - given))}")
        if given - needed - _ALLOWED[self.kind]:
            raise ValueError(f"a {self.kind} without "
                             f"{', '.join(sorted(given - needed - _ALLOWED[self.kind]))}")
        return self

    def signed_bytes(self) -> bytes:
        """Return what the signature is of."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True, exclude={"signature"}))

    def line(self) -> bytes:
        """Return the entry's line, without its end."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))

    @property
    def head(self) -> Head:
        """The head of a ledger that ends with this entry."""
        return Head(seq=self.seq, digest=digest_bytes(self.line()))

    def event(self) -> Event:
        """Return what a reserve or a settle costs, as accountants need it.

        Raises:
            LedgerError: It is a refusal or a note, which cost nothing.
        """
        how = self.mechanism
        if (self.kind not in ("reserve", "settle") or how is None or self.stage is None
                or self.round_index is None or self.run is None):
            raise LedgerError(f"entry {self.seq} costs nothing", expected="a reserve or a settle",
                              found=f"a {self.kind}", fix="ask only those for their cost")
        return Event(
            mechanism=how.name, sample_rate=how.sample_rate, noise_multiplier=how.noise_multiplier,
            steps=how.steps, unit=how.unit, stage=self.stage, round_index=self.round_index,
            run=self.run)


def parse_line(line: bytes) -> Entry:
    """Read one line, without its end.

    Raises:
        ValueError: It is not exactly the line of an entry; the text says why, without its content.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"it has more than {MAX_LINE_BYTES} bytes")
    try:
        entry = Entry.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        known = [str(part) for part in first["loc"][:1] if part in Entry.model_fields]
        raise ValueError(": ".join(["it is no entry", *known, first["msg"]])) from None
    if entry.line() != line:
        raise ValueError("it is not written in the one way for what it says")
    return entry
