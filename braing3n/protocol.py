"""What a coordinator and a site say to each other, without the transport that carries it.

A message is one JSON text, checked strictly on arrival, and at most one flat array of weights (see
`braing3n.weights`).
"""

import hashlib
from collections.abc import Container, Iterable
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from braing3n.moments import Moment
from braing3n.plan import Part, StageName
from braing3n.privacy_messages import HeadClaim, KeyText, PrivacyReport, Receipt
from braing3n.probe_messages import MAX_VOLUMES, ProbeOrder, ProbeReport
from braing3n.yaml_files import Digest, StrictModel

PROTOCOL_VERSION = 4
# Volumes that one site may claim. A claim cannot be checked, but none may drown out all others.
MAX_WEIGHT = MAX_VOLUMES
MAX_SITES = 1000
# JSON readers in other languages keep whole numbers exact up to here.
_MAX_COUNT = 2**53

SiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")]

# The only words about a failure that cross the wire. Detail stays in the site's own log.
REFUSALS = ("config", "cohort", "digest", "diverged", "error", "internal", "missing_part", "output",
            "policy", "protocol", "scan", "stranger", "budget", "ledger", "replay", "egress", "held",
            "plan", "code")
# Why a site is not in a round's result: its own word, or one of the coordinator's.
LOSSES = (*REFUSALS, "late", "unreachable", "outlier", "name_taken", "revoked")

What = Literal["training", "evaluation", "statistics"]


# Codes of sites' own refusals begin here: above Flower's, so that none is mistaken for one of them.
FIRST_CODE = 1000


def fixed_word(word: str, known: Container[str] = REFUSALS) -> str:
    """Return `word` if it is one of the known ones, and "internal" for any other text."""
    return word if word in known else "internal"


class RoundRecord(StrictModel):
    """The coordinator's word on a round that is over: who was asked, and what came of it.

    A run's records are a chain. Where a run went on after an interruption, rounds after its last
    checkpoint were run again: a later record of the same round takes the place of the earlier one,
    which stays.

    Attributes:
        number: Of the run's records, from 0.
        previous: sha256 of the record before, as its line; zeros in the first.
        run: The run.
        plan_digest: The plan's.
        what: What the sites were asked for.
        stage: The stage.
        round_index: As in the task.
        asked: Sites that were asked.
        answered: Those in the result.
        refused: Why each of the others is not in it.
        result: Digest (`weights.digest_state`) of the global weights after a round of training; of
            those that an evaluation measured; of the statistics, None where no site gave any.
        time: When the round was over, UTC.
        public_key: The coordinator's.
        signature: Of all other fields, by it.
    """

    number: Annotated[int, Field(ge=0, le=_MAX_COUNT)]
    previous: Digest
    run: RunId
    plan_digest: Digest
    what: What
    stage: StageName
    round_index: Annotated[int, Field(ge=0, le=_MAX_COUNT)]
    asked: Annotated[tuple[SiteName, ...], Field(max_length=MAX_SITES)]
    answered: Annotated[tuple[SiteName, ...], Field(max_length=MAX_SITES)]
    refused: Annotated[
        dict[SiteName, Annotated[str, Field(pattern=f"^({'|'.join(LOSSES)})$")]],
        Field(max_length=MAX_SITES)]
    result: Digest | None
    time: Moment
    public_key: KeyText
    signature: KeyText


class RecordSeen(StrictModel):
    """Which record of its run a site was sent: by its digest, also all records before it.

    Attributes:
        number: The record's.
        digest: sha256 of its line.
    """

    number: Annotated[int, Field(ge=0)]
    digest: Digest


class Hello(StrictModel):
    """A site's first reply: who it is and which code it runs."""

    site: SiteName
    protocol: int
    version: str
    code_digest: Digest


class Task(StrictModel):
    """What a site is asked to do in one round.

    Attributes:
        run: The run's id.
        plan: The plan's canonical JSON.
        plan_digest: Its sha256.
        stage: The stage.
        round_index: Counted from 0; the evaluation after the last round has the stage's count.
        frozen: Digests of the frozen parts that the stage builds on.
        part: For `install`: which part the array is.
        layout: Digest of the array's layout.
        probe: For `probe`: which sums are asked for; the array is then one of float64.
        receipts: The latest for each site with a ledger.
        record: The newest of the run; None in its first round.
    """

    protocol: int = PROTOCOL_VERSION
    run: RunId
    plan: str
    plan_digest: Digest
    stage: StageName
    round_index: Annotated[int, Field(ge=0)]
    frozen: dict[Part, Digest] = Field(default_factory=dict)
    part: Part | None = None
    layout: Digest | None = None
    probe: ProbeOrder | None = None
    receipts: Annotated[tuple[Receipt, ...], Field(max_length=MAX_SITES)] = ()
    record: RoundRecord | None = None


class Reply(StrictModel):
    """What a site answers: its report, beside the array that goes with it.

    Attributes:
        site: Its agreed name.
        stage: As in the task.
        round_index: As in the task.
        plan_digest: As in the task.
        layout: Digest of the array's layout; none where nothing was computed.
        missing: Frozen parts that the site lacks; then it did nothing else.
        weight: Volumes that the array stands for: its weight in the mean.
        metrics: Of the global weights as received, on held-out subjects, where there are any.
        train_loss: Mean loss of the local steps.
        losses: The loss along the round, thinned to at most 64 numbers.
        seconds: Time the site took.
        peak_memory_mb: The site's process, at its largest so far.
        num_skipped: Scans that could not be used.
        probe: For `probe`: what the sums are of.
        privacy: What the reply costs in privacy; None where the site has no budget.
        head: How far the site's ledger goes; None where it keeps none.
        seen: The record that came with the task. The site signs for it with the reply's manifest,
            which has the report's digest and repeats this.
    """

    site: SiteName
    stage: StageName
    round_index: Annotated[int, Field(ge=0)]
    plan_digest: Digest
    layout: Digest | None = None
    missing: tuple[Part, ...] = ()
    weight: Annotated[int, Field(ge=0, le=MAX_WEIGHT)] = 0
    metrics: dict[str, float] = Field(default_factory=dict, max_length=32)
    train_loss: float | None = None
    losses: Annotated[tuple[float, ...], Field(max_length=64)] = ()
    seconds: Annotated[float, Field(ge=0)] = 0.0
    peak_memory_mb: Annotated[float, Field(ge=0)] = 0.0
    num_skipped: Annotated[int, Field(ge=0)] = 0
    probe: ProbeReport | None = None
    privacy: PrivacyReport | None = None
    head: HeadClaim | None = None
    seen: RecordSeen | None = None


def code_digest(packages: Iterable[Path]) -> str:
    """Return the digest of the Python sources in these package folders, by name and content."""
    content = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            content.update(f"{package.name}/{path.relative_to(package).as_posix()}\0".encode())
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()


def software_version() -> str:
    """Return the version of the installed distribution."""
    return distribution_version("braing3n")
