"""What sites and the coordinator tell each other of privacy: what was spent, and ledgers' heads."""

from typing import Annotated, Literal

from pydantic import Field

from braing3n.files import ZEROS
from braing3n.yaml_files import Digest, StrictModel

# A public key and a signature as text; `braing3n.signing` reads them.
KeyText = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9+/=_:-]+$")]
Epsilon = Annotated[float, Field(ge=0)]

# Why a site names no ε. `without_dp`: its cohort's patients were also trained on without DP.
# `beyond`: what it has spent is more than accountants can put into a number.
Void = Literal["without_dp", "beyond"]


class HeadClaim(StrictModel):
    """A site's word on how far its ledger goes, signed with the ledger's key.

    Attributes:
        seq: Number of the last entry, from 0.
        digest: Its sha256, which stands for all entries before it as well.
        anchor_seq: The entry that the coordinator's last receipt was for, as the ledger holds it now;
            -1 where there is no receipt yet.
        anchor_digest: Its sha256, likewise.
        public_key: The ledger's key.
        signature: Over the other fields and the site's name.
    """

    seq: Annotated[int, Field(ge=0)]
    digest: Digest
    anchor_seq: Annotated[int, Field(ge=-1)] = -1
    anchor_digest: Digest = ZEROS
    public_key: KeyText
    signature: KeyText


class Receipt(StrictModel):
    """The coordinator's word that it was shown a head; sites keep each other's.

    It holds the claim as the site signed it: a coordinator cannot give one for a head that no site
    has ever had.

    Attributes:
        number: Of the run's receipts, from 0.
        previous: sha256 of the receipt before it, as a line of receipts.jsonl.
        run: The run.
        site: Whose head it is.
        claim: What the site claimed.
        public_key: The coordinator's.
        signature: Of all other fields, by it.
    """

    number: Annotated[int, Field(ge=0)]
    previous: Digest
    run: str
    site: str
    claim: HeadClaim
    public_key: KeyText
    signature: KeyText

    @property
    def seq(self) -> int:
        """The entry that the receipt is for."""
        return self.claim.seq

    @property
    def digest(self) -> str:
        """Its sha256."""
        return self.claim.digest

    @property
    def site_key(self) -> str:
        """The key that signed the claim."""
        return self.claim.public_key


class PrivacyReport(StrictModel):
    """What a site says of the privacy that its reply costs; nothing in it depends on exact counts.

    Attributes:
        epsilon_stage: Spent in the stage of this run, at `delta`; None where it means nothing.
        epsilon_run: Spent in this run so far.
        epsilon_total: Spent on the cohort by everything that the site ever released.
        rdp_total: The same by Rényi accounting, which is never lower.
        delta: δ.
        void: Why there is no ε.
        noise_multiplier: σ of the work in this reply.
        sample_rate: q.
        steps: Noised steps in this reply.
        clip_norm: C.
        views: Volumes × masks of a drawn subject.
        num_subjects: The public number that gradients are divided by, times q.
        engine: How clipped sums were computed.
        signal_to_noise: Of the released gradients, computed from what is released.
    """

    epsilon_stage: Epsilon | None = None
    epsilon_run: Epsilon | None = None
    epsilon_total: Epsilon | None = None
    rdp_total: Epsilon | None = None
    delta: Annotated[float, Field(gt=0, lt=1)]
    void: Void | None = None
    noise_multiplier: Annotated[float, Field(gt=0)] | None = None
    sample_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    steps: Annotated[int, Field(ge=0)] = 0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    views: Annotated[int, Field(ge=1)] | None = None
    num_subjects: Annotated[int, Field(ge=1)] | None = None
    engine: Literal["loop", "bookkeeping", "opacus"] | None = None
    signal_to_noise: Annotated[float, Field(ge=0)] | None = None
