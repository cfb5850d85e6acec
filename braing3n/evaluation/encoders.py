"""Frozen encoders that probes compare: ours, and what any of them has to beat.

An adapter takes volumes on our own grid and returns one vector a volume; `pooling` says how.
Encoders of others are in `published_encoders`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from braing3n.errors import ConfigError
from braing3n.evaluation.thumbnails import THUMBNAIL_SHAPE, thumbnails
from braing3n.models.mae import Encoder
from braing3n.plan import load_plan
from braing3n.presets import PRESETS, Preset, PresetName
from braing3n.weights import State, digest_state, load_weights

_OURS = "mean of the patch tokens, then the CLS token"


class VolumeEncoder(Protocol):
    """A frozen network, or something that stands for one."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def pooling(self) -> str:
        """How a volume becomes one vector, in words."""
        ...

    @property
    def digest(self) -> str | None:
        """What names the weights, or None where there are none."""
        ...

    def embed(self, volumes: Tensor) -> Tensor:
        """Return (B, d) features of (B, 1, X, Y, Z) z-scored volumes on our grid (LPS)."""
        ...


@dataclass(frozen=True)
class OwnEncoder:
    """An encoder of this software.

    Attributes:
        name: For tables.
        network: With its weights, not training.
        device: Where it computes.
        digest: Of the weights, as a run's record has it.
        pooling: How a volume becomes one vector.
    """

    name: str
    network: Encoder
    device: torch.device
    digest: str
    pooling: str = _OURS

    @torch.no_grad()
    def embed(self, volumes: Tensor) -> Tensor:
        """Return (B, 2 E) features of (B, 1, X, Y, Z) volumes."""
        features: Tensor = self.network.embed(volumes.to(self.device)).float().cpu()
        return features


@dataclass(frozen=True)
class Thumbnails:
    """Smoothed and reduced volumes: what a network that has learnt nothing of brains gives."""

    name: str = "thumbnail"
    pooling: str = (f"intensities, smoothed and reduced to {' x '.join(map(str, THUMBNAIL_SHAPE))}, "
                    "in an ellipsoid")
    digest: None = None

    def embed(self, volumes: Tensor) -> Tensor:
        """Return (B, 344) intensities of (B, 1, X, Y, Z) volumes."""
        return thumbnails(volumes)


def open_own(name: str, weights: Path, preset: Preset,
             device: torch.device = torch.device("cpu")) -> OwnEncoder:  # noqa: B008
    """Read an encoder of ours from a safetensors file.

    Raises:
        OutputError: The file is not there, or damaged.
        ConfigError: It is not an encoder of this preset.
    """
    return own_encoder(name, load_weights(weights), preset, device, str(weights))


def own_encoder(name: str, state: State, preset: Preset, device: torch.device,
                source: str) -> OwnEncoder:
    """Return an encoder of ours with these weights, which came from `source`.

    Raises:
        ConfigError: They are not an encoder's of this preset.
    """
    network = Encoder(preset)
    expected = network.state_dict()
    differing = sorted(key for key in expected.keys() | state.keys()
                       if key not in expected or key not in state
                       or expected[key].shape != state[key].shape)
    if differing:
        raise ConfigError(f"{source} is not an encoder of this preset",
                          expected=f"{len(expected)} tensors with the preset's shapes",
                          found=f"{len(differing)} that differ, the first {differing[0]}",
                          fix="name the preset that it was trained with (--preset)")
    network.load_state_dict(state)
    return OwnEncoder(name, network.to(device).eval(), device, digest_state(state))


def open_random(preset: Preset, seed: int,
                device: torch.device = torch.device("cpu")) -> OwnEncoder:  # noqa: B008
    """Return an encoder of ours with fresh weights: what its structure alone gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Encoder(preset)
    return OwnEncoder("random", network.to(device).eval(), device, digest_state(network.state_dict()),
                      f"{_OURS}; fresh weights of seed {seed}")


def preset_of_run(run: Path) -> PresetName:
    """Return the preset of a run's plan.

    Raises:
        ConfigError: There is no plan, or it is wrong.
    """
    return load_plan(run / "plan.yaml").preset


def open_run(run: Path, device: torch.device = torch.device("cpu")) -> OwnEncoder:  # noqa: B008
    """Read the encoder of a run's folder; its name is the folder's.

    Raises:
        ConfigError: There is no plan, or the encoder does not fit it.
        OutputError: There is no encoder, or it is damaged.
    """
    return open_own(run.resolve().name, run / "model" / "encoder.safetensors",
                    PRESETS[preset_of_run(run)], device)
