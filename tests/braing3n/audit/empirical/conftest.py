"""Audits of the real stages at a size that takes seconds."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from braing3n import embeddings, networks, objectives
from braing3n.audit.empirical import run
from braing3n.audit.empirical.result import EmpiricalAudit
from braing3n.presets import Preset, TransformerSize

# 8 patches of 8³ voxels; 32 latent channels, so that gradients of the DiT's last layer, which are all
# that it has at first, have room for more directions than there are canaries.
POCKET = Preset((16, 16, 16), 10.0, 8, TransformerSize(48, 1, 2), TransformerSize(24, 1, 2), 32,
                (4, 4, 8, 8), TransformerSize(48, 1, 2))

Audit = Callable[..., EmpiricalAudit]


@pytest.fixture
def pocket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `nano` be smaller still, for networks and objectives that are otherwise the real ones."""
    for module in (networks, objectives, embeddings, run):
        monkeypatch.setattr(module, "PRESETS", {"nano": POCKET})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_audit(pocket: None) -> Audit:
    """Return an audit with a claimed ε of about 8."""

    def audit(stage: str = "pretrain", engine: str = "loop", **change: Any) -> EmpiricalAudit:
        settings = {"noise_multiplier": 1.2, "sample_rate": 0.2, "steps": 60, "canaries": 200,
                    "subjects": 8, **change}
        return run.run_audit(stage, engine, **settings)  # type: ignore[arg-type]

    return audit
