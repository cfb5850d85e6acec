"""Manifests: what a site wrote down of each reply before it left, chained and signed."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from braing3n.errors import OutputError, ProtocolError
from braing3n.files import ZEROS, canonical_json, digest_bytes, whole_lines
from braing3n.plan import StageName
from braing3n.privacy_messages import KeyText, PrivacyReport
from braing3n.protocol import RecordSeen, SiteName
from braing3n.signing import PublicKey, SigningKey
from braing3n.yaml_files import Digest, StrictModel

FILE_NAME = "manifests.jsonl"  # in a run's folder, of all sites
MAX_TENSORS = 4096
_RESTORE = "look into that site's log, and restore it from a backup if it was changed"


class TensorRecord(StrictModel):
    """One tensor of what left.

    Attributes:
        name: As in the network's state; `sums` for a probe's.
        shape: Its shape.
        dtype: The type in which its numbers travel.
        norm: Their L2 norm.
    """

    name: Annotated[str, Field(max_length=200)]
    shape: Annotated[tuple[int, ...], Field(max_length=8)]
    dtype: Literal["float32", "bfloat16", "float16", "float64"]
    norm: Annotated[float, Field(ge=0)]


class Content(StrictModel):
    """What leaves with one reply.

    Attributes:
        site: The agreed name.
        kind: What was asked for, as in the transport's messages: `train.pretrain`, `query.hello`, ...
        run: The run's id; None where the question names none.
        stage: The stage, likewise.
        round_index: The round, from 0, likewise.
        plan_digest: The run's plan, likewise.
        tensors: What the array holds; empty where there is none.
        num_bytes: Bytes of the array and the report.
        array_digest: sha256 of the array's numbers as float32 (a probe's: float64), little-endian; None
            where there is none.
        report_digest: sha256 of the report's text, word for word.
        metrics: What was measured, by name.
        privacy: What the reply costs, and what was spent with it; None where no budget is.
        seen: Which of the run's round records the site was sent with the question, so that it signs
            for it; left out of the line where it was sent none.
    """

    site: SiteName
    kind: Annotated[str, Field(max_length=40)]
    run: Annotated[str, Field(max_length=80)] | None = None
    stage: StageName | None = None
    round_index: Annotated[int, Field(ge=0)] | None = None
    plan_digest: Digest | None = None
    tensors: Annotated[tuple[TensorRecord, ...], Field(max_length=MAX_TENSORS)] = ()
    num_bytes: Annotated[int, Field(ge=0)]
    array_digest: Digest | None = None
    report_digest: Digest
    metrics: Annotated[dict[str, float], Field(max_length=32)] = Field(default_factory=dict)
    privacy: PrivacyReport | None = None
    seen: Annotated[RecordSeen | None, Field(exclude_if=lambda seen: seen is None)] = None

    @property
    def norm(self) -> float:
        """L2 norm of everything that the array holds."""
        return math.sqrt(sum(tensor.norm**2 for tensor in self.tensors))

    @property
    def digest(self) -> str:
        """What stands for the content: the same where the same is sent again."""
        return digest_bytes(canonical_json(self.model_dump(mode="json")))


class Manifest(Content):
    """A content as it was written down. A site's manifests are a chain: each names the one before.

    Attributes:
        seq: Its number at this site, from 0.
        prev: sha256 of the line before; zeros in the first.
        time: When it was written, UTC.
        public_key: The site's key for manifests.
        signature: By it, of all other fields.
    """

    seq: Annotated[int, Field(ge=0)]
    prev: Digest
    time: Annotated[str, Field(max_length=32)]
    public_key: KeyText
    signature: KeyText


def sign_manifest(key: SigningKey, content: Content, *, seq: int, prev: str, time: str) -> Manifest:
    """Return the manifest of a content, signed."""
    unsigned = Manifest(**dict(content), seq=seq, prev=prev, time=time,
                        public_key=key.public.text, signature="0")
    return unsigned.model_copy(update={"signature": key.sign(_signed(unsigned))})


def check_manifest(manifest: Manifest) -> None:
    """Check that a manifest is signed by the key that it names.

    Raises:
        ProtocolError: It is not.
    """
    if not PublicKey.from_text(manifest.public_key).verify(_signed(manifest), manifest.signature):
        raise ProtocolError("a manifest has a wrong signature", expected="one by the key that it names",
                            found="another", fix="look into that site's log")


def manifest_line(manifest: Manifest) -> bytes:
    """Return the line that stands for a manifest, without its end."""
    return canonical_json(manifest.model_dump(mode="json"))


def read_chain(lines: Iterable[bytes]) -> Iterator[Manifest]:
    """Give the manifests of a site's egress log, and check each and their order.

    Raises:
        ProtocolError: A line is no manifest of this chain.
    """
    seq, prev, key = 0, ZEROS, None
    for line in lines:
        manifest = read_manifest(line)
        if (manifest.seq, manifest.prev) != (seq, prev):
            raise ProtocolError(f"line {seq + 1} is not where it was written", found="another place",
                                expected=f"manifest {seq}, after the one before", fix=_RESTORE)
        if key is not None and manifest.public_key != key:
            raise ProtocolError(f"line {seq + 1} is by another key", expected="the key of those before",
                                found="another", fix=_RESTORE)
        yield manifest
        seq, prev, key = seq + 1, digest_bytes(line), manifest.public_key


def load_run_manifests(run: Path) -> list[Manifest]:
    """Read the manifests that a coordinator has kept of a run, and check each signature.

    Args:
        run: The run's folder.

    Raises:
        OutputError: A line is no manifest, or is not what its site signed.
    """
    path = run / FILE_NAME
    try:
        return [read_manifest(line) for line in whole_lines(path)]
    except ProtocolError as error:
        raise OutputError(f"{path} is damaged", expected="manifests as sites have signed them",
                          found=error.what, fix="restore it, or copy the run's folder again; each site "
                          "has its own in egress.jsonl") from error


def read_manifest(line: bytes) -> Manifest:
    """Read and check the line of a manifest.

    Raises:
        ProtocolError: It is none, is written another way, or has a wrong signature.
    """
    try:
        manifest = Manifest.model_validate_json(line)
    except ValidationError as error:
        raise ProtocolError("a manifest cannot be read", expected="one as this version writes it",
                            found="other content", fix=_RESTORE) from error
    if manifest_line(manifest) != line:
        raise ProtocolError("a manifest is not written in the one way for what it says",
                            expected="canonical JSON", found="another form", fix=_RESTORE)
    check_manifest(manifest)
    return manifest


def _signed(manifest: Manifest) -> bytes:
    return canonical_json(manifest.model_dump(mode="json", exclude={"signature"}))
