"""Whether a run's files are the ones that its record names."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from braing3n.errors import BrainG3NError
from braing3n.files import digest_file
from braing3n.report.run_folder import ModelRecord, RunRecord


@dataclass(frozen=True)
class DigestRow:
    """A file of the run, or its plan.

    Attributes:
        what: What it is.
        file: Its name in the run's folder.
        told: The digest that run.json has.
        found: The one that the file has; None where there is no such file.
        kind: What is digested.
        says: Whether they are equal, in words.
    """

    what: str
    file: str
    told: str
    found: str | None
    kind: str
    says: str

    @property
    def is_equal(self) -> bool | None:
        """Whether both are equal; None where there is nothing to compare."""
        return None if self.found is None else self.found == self.told


def digest_rows(run: Path, record: RunRecord) -> list[DigestRow]:
    """Compare the digests of a run's files with its record."""
    rows = [_plan_row(run, record)]
    for name, model in record.models.items():
        rows += _model_rows(run, name, model)
    encoder = record.models.get("encoder")
    if encoder is not None and record.encoder_digest is not None:
        rows.append(_row("frozen encoder of all later stages", encoder.file, record.encoder_digest,
                         encoder.digest, "weights, as run.json has them twice"))
    return rows


def _plan_row(run: Path, record: RunRecord) -> DigestRow:
    from braing3n.plan import load_plan  # noqa: PLC0415  # not every report has a run

    path = run / "plan.yaml"
    kind = "the plan's content"
    if not path.exists():
        return _row("plan", path.name, record.plan_digest, None, kind)
    try:
        return _row("plan", path.name, record.plan_digest, load_plan(path).digest, kind)
    except BrainG3NError as error:
        return DigestRow("plan", path.name, record.plan_digest, None, kind,
                         f"not compared: this version cannot read it ({error.what})")


def _model_rows(run: Path, name: str, model: ModelRecord) -> Iterator[DigestRow]:
    path = run / model.file
    is_inside = path.resolve().is_relative_to(run.resolve())
    is_there = is_inside and path.is_file()
    if model.sha256 is not None:
        yield _row(name, model.file, model.sha256, digest_file(path) if is_there else None, "the file")
    yield _row(name, model.file, model.digest, _weights_digest(path) if is_there else None,
               "its weights")


def _weights_digest(path: Path) -> str | None:
    """Return the digest of the weights in a file; None where they cannot be read."""
    from braing3n.weights import digest_state, load_weights  # noqa: PLC0415  # torch takes seconds

    try:
        return digest_state(load_weights(path))
    except BrainG3NError:
        return None


def _row(what: str, file: str, told: str, found: str | None, kind: str) -> DigestRow:
    says = ("not compared: the file is not here, or cannot be read" if found is None else
            "equal" if found == told else "DIFFERENT: this is not the file that the record names")
    return DigestRow(what, file, told, found, kind, says)
