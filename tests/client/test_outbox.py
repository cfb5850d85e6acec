from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from braing3n.errors import OutputError
from braing3n.plan import load_plan
from braing3n.protocol import Reply, Task
from braing3n.round_records import sign_record
from braing3n.signing import SigningKey
from client.outbox import Kept, find, keep, task_digest
from simulation.run import PLANS

PLAN = load_plan(PLANS / "demo.yaml")
WEIGHTS = np.arange(5, dtype=np.float32)


def task(**change: object) -> Task:
    return Task(**{"run": "r1", "plan": PLAN.canonical(), "plan_digest": PLAN.digest,
                   "stage": "pretrain", "round_index": 0, **change})


def kept(vector: np.ndarray | None = WEIGHTS) -> Kept:
    return Kept(Reply(site="a", stage="pretrain", round_index=0, plan_digest=PLAN.digest,
                      train_loss=0.25), vector, (3, 4))


@pytest.mark.parametrize("vector", [WEIGHTS, None])
def test_an_answer_comes_back_as_it_was_kept(tmp_path: Path, vector: np.ndarray | None) -> None:
    digest = task_digest("train", task(), WEIGHTS)
    keep(tmp_path, "train", digest, kept(vector))
    found = find(tmp_path, "train", digest)
    assert found is not None
    assert found.reply == kept().reply
    assert found.reserves == (3, 4)
    assert found.digest == kept(vector).digest
    assert (tmp_path / "outbox" / f"train-{digest}.npz").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("other", [
    task(round_index=1), task(run="r2"), task(stage="decoder"), task(frozen={"encoder": "0" * 64})])
def test_another_task_has_another_digest(other: Task) -> None:
    assert task_digest("train", other, WEIGHTS) != task_digest("train", task(), WEIGHTS)
    assert task_digest("train", task(), WEIGHTS + 1) != task_digest("train", task(), WEIGHTS)
    assert task_digest("evaluate", task(), WEIGHTS) != task_digest("train", task(), WEIGHTS)


def test_a_task_that_is_asked_again_with_a_later_record_is_the_same_task() -> None:
    later = sign_record(SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32)), number=4,
                        previous="0" * 64, run="r1", plan_digest=PLAN.digest, what="training",
                        stage="pretrain", round_index=0, asked=("a",), answered=("a",), refused={},
                        result="1" * 64, time="2026-12-01T00:00:00Z")
    assert task_digest("train", task(record=later), WEIGHTS) == task_digest("train", task(), WEIGHTS)


def test_the_next_answer_of_a_kind_takes_the_place_of_the_last(tmp_path: Path) -> None:
    for kind, digest in (("train", "1" * 64), ("moments", "2" * 64), ("train", "3" * 64)):
        keep(tmp_path, kind, digest, kept())
    assert find(tmp_path, "train", "1" * 64) is None
    assert find(tmp_path, "moments", "2" * 64) is not None
    assert find(tmp_path, "train", "3" * 64) is not None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_a_damaged_answer_is_told_and_not_taken_for_none(tmp_path: Path, content: bytes) -> None:
    keep(tmp_path, "train", "1" * 64, kept())
    (tmp_path / "outbox" / f"train-{'1' * 64}.npz").write_bytes(content)
    with pytest.raises(OutputError, match="is damaged"):
        find(tmp_path, "train", "1" * 64)
