"""A site's finished answers, kept until the next: asked again, it gives the same and pays nothing."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from braing3n.errors import OutputError
from braing3n.files import digest_bytes, replacing
from braing3n.protocol import Reply, Task
from braing3n.weights import Vector

_FOLDER = "outbox"


@dataclass(frozen=True)
class Kept:
    """One answer that was computed and paid for.

    Attributes:
        reply: The report.
        vector: The array, if there is one.
        reserves: The ledger's entries that paid for it.
    """

    reply: Reply
    vector: Vector | None
    reserves: tuple[int, ...]

    @property
    def digest(self) -> str:
        """The sha256 of the array's bytes, or of the report where there is none."""
        content = (self.reply.model_dump_json().encode() if self.vector is None
                   else self.vector.tobytes())
        return digest_bytes(content)


def weights_digest(vector: Vector | None) -> str | None:
    """Return the sha256 of the weights that came with a task; None where none did."""
    return None if vector is None else digest_bytes(np.ascontiguousarray(vector).tobytes())


def task_digest(kind: str, task: Task, vector: Vector | None) -> str:
    """Return what tells one task from another: all that the answer to it depends on.

    Receipts and the round record are left out: they differ when a task is asked again.
    """
    weights = weights_digest(vector) or ""
    text = task.model_copy(update={"receipts": (), "record": None}).model_dump_json()
    return digest_bytes(f"{kind}\0{text}\0{weights}".encode())


def keep(state_dir: Path, kind: str, task: str, kept: Kept) -> None:
    """Write an answer, whole or not at all; the one before of its kind goes.

    Args:
        state_dir: The site's own folder.
        kind: What was asked for, in one word.
        task: `task_digest` of what it answers.
        kept: The answer.
    """
    folder = state_dir / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{kind}-{task}.npz"
    content = {"reply": np.array(kept.reply.model_dump_json()),
               "reserves": np.array(kept.reserves, np.int64)}
    if kept.vector is not None:
        content["vector"] = kept.vector
    with replacing(path) as part:
        np.savez(part, allow_pickle=False, **content)
        part.chmod(0o600)
    for old in folder.glob(f"{kind}-*.npz"):
        if old != path:
            old.unlink()


def trace(state_dir: Path) -> Path | None:
    """Return the folder of answers where it has any: each was paid for by an entry of a ledger."""
    folder = state_dir / _FOLDER
    return folder if any(folder.glob("*.npz")) else None


def find(state_dir: Path, kind: str, task: str) -> Kept | None:
    """Return the answer to a task, or None where it is not the last of its kind.

    Raises:
        OutputError: The file is damaged.
    """
    path = state_dir / _FOLDER / f"{kind}-{task}.npz"
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            vector = np.ascontiguousarray(content["vector"]) if "vector" in content else None
            return Kept(Reply.model_validate_json(str(content["reply"])), vector,
                        tuple(int(seq) for seq in content["reserves"]))
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise OutputError(f"{path} is damaged", expected="an answer as this version keeps it",
                          found="other content", fix="remove it: the round counts as lost") from error
