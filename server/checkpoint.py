"""What a run can go on from: for each stage a manifest, and the files that it names by digest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, ValidationError

from braing3n.errors import OutputError
from braing3n.files import digest_bytes, digest_file, write_text
from braing3n.plan import Part, StageName
from braing3n.weights import State, Vector, load_weights, save_weights
from braing3n.yaml_files import Digest, StrictModel

FIX = "restore the run's folder from a copy, or begin anew with another --out"


class ModelFile(StrictModel):
    """A finished part of the model: its file in the run's folder, its digest, the file's sha256."""

    file: str
    digest: Digest
    sha256: Digest


class Manifest(StrictModel):
    """One stage after a round, or after all of it. Written last: what it names is whole.

    Attributes:
        run: The run's id.
        plan_digest: The plan's.
        code_digest: Of the code that computed it, the coordinator's and the sites'.
        stage: The stage.
        round: Rounds that are in the weights.
        sites: Who is in the result of the last of them.
        file: The global weights, beside the manifest.
        sha256: Of that file.
        server_file: The server optimiser's slots and the moving average's sum.
        server_sha256: Of that file.
        average_rounds: Rounds that are in the moving average; 0 where there is none.
        metrics_bytes: Length of metrics.jsonl after the round; what is behind was not finished.
        metrics_sha256: Of so much of it.
        models: What the stage froze, once all of it is over; empty before.
        probes: What came of the plan's probes, once they are over; empty before.
        record: The stage's account for run.json.
    """

    run: str
    plan_digest: Digest
    code_digest: Digest
    stage: StageName
    round: Annotated[int, Field(ge=0)]
    sites: list[str]
    file: str
    sha256: Digest
    server_file: str
    server_sha256: Digest
    average_rounds: Annotated[int, Field(ge=0)]
    metrics_bytes: Annotated[int, Field(ge=0)]
    metrics_sha256: Digest
    models: dict[Part, ModelFile] = Field(default_factory=dict)
    probes: dict[str, Any] = Field(default_factory=dict)
    record: dict[str, Any]

    @property
    def is_finished(self) -> bool:
        """Whether the stage is over and its parts are frozen."""
        return bool(self.models)


def stage_folder(run: Path, stage: StageName) -> Path:
    """Return where a stage's weights and manifest are."""
    return run / "rounds" / stage


def write_manifest(run: Path, manifest: Manifest) -> None:
    """Write a manifest, from then on the run goes on from it; files of earlier rounds go."""
    folder = stage_folder(run, manifest.stage)
    write_text(folder / "manifest.json", manifest.model_dump_json(indent=1) + "\n")
    for old in folder.glob("*.safetensors"):
        if old.name not in (manifest.file, manifest.server_file):
            old.unlink()


def save_slots(path: Path, slots: Mapping[str, Vector]) -> None:
    """Write the coordinator's own vectors beside a round's weights."""
    save_weights(path, {name: torch.from_numpy(slot) for name, slot in slots.items()})


def read_manifest(run: Path, stage: StageName) -> Manifest | None:
    """Return a stage's manifest, or None where no round of it was finished.

    Raises:
        OutputError: It is damaged.
    """
    path = stage_folder(run, stage) / "manifest.json"
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise _damaged(path, "a manifest as this version writes it") from error


def load_round(run: Path, manifest: Manifest) -> tuple[dict[str, torch.Tensor], dict[str, Vector]]:
    """Return the global weights and the coordinator's own vectors, both checked.

    Raises:
        OutputError: A file is gone or damaged.
    """
    folder = stage_folder(run, manifest.stage)
    weights = _load(folder / manifest.file, manifest.sha256)
    slots = _load(folder / manifest.server_file, manifest.server_sha256)
    return weights, {name: np.ascontiguousarray(slot.numpy()) for name, slot in slots.items()}


def load_model(run: Path, model: ModelFile) -> State:
    """Return a frozen part, checked.

    Raises:
        OutputError: Its file is gone or damaged.
    """
    return _load(run / model.file, model.sha256)


def check_metrics(run: Path, manifest: Manifest) -> bytes:
    """Return the lines of metrics.jsonl that the manifest knows of.

    Raises:
        OutputError: They are not what was written.
    """
    path = run / "metrics.jsonl"
    content = path.read_bytes()[: manifest.metrics_bytes] if path.exists() else b""
    if digest_bytes(content) != manifest.metrics_sha256:
        raise _damaged(path, f"{manifest.metrics_bytes} bytes of sha256 {manifest.metrics_sha256}")
    return content


def _load(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    if not path.is_file() or digest_file(path) != sha256:
        raise _damaged(path, f"a file of sha256 {sha256}")
    return load_weights(path)


def _damaged(path: Path, expected: str) -> OutputError:
    return OutputError(f"the run cannot go on: {path} is not what the run wrote", expected=expected,
                       found="other content" if path.exists() else "no such file", fix=FIX)
