"""What a coordinator and a site say to each other, without the transport that carries it.

A message is one JSON text, checked strictly on arrival, and at most one flat array of weights (see
`braing3n.weights`).
"""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Annotated

from pydantic import Field

from braing3n.plan import Part, StageName
from braing3n.privacy_messages import HeadClaim, PrivacyReport, Receipt
from braing3n.probe_messages import MAX_VOLUMES, ProbeOrder, ProbeReport
from braing3n.yaml_files import Digest, StrictModel

PROTOCOL_VERSION = 3
# Volumes that one site may claim. A claim cannot be checked, but none may drown out all others.
MAX_WEIGHT = MAX_VOLUMES

SiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]

# The only words about a failure that cross the wire. Detail stays in the site's own log.
REFUSALS = ("config", "cohort", "digest", "diverged", "error", "internal", "missing_part", "output",
            "policy", "protocol", "scan", "stranger", "budget", "ledger", "replay", "egress", "held",
            "plan")


def fixed_word(word: str) -> str:
    """Return `word` if it is one of `REFUSALS`, and "internal" for any other text."""
    return word if word in REFUSALS else "internal"


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
    """

    protocol: int = PROTOCOL_VERSION
    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")]
    plan: str
    plan_digest: Digest
    stage: StageName
    round_index: Annotated[int, Field(ge=0)]
    frozen: dict[Part, Digest] = Field(default_factory=dict)
    part: Part | None = None
    layout: Digest | None = None
    probe: ProbeOrder | None = None
    receipts: tuple[Receipt, ...] = ()


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
