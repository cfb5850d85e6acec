"""The three networks, small and stirred, and subjects to train them on."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from braing3n.conditions import VARIABLES
from braing3n.models.decoder import LatentDecoder
from braing3n.models.dit import DiffusionTransformer
from braing3n.models.flow import flow_loss
from braing3n.models.mae import MaskedAutoencoder
from braing3n.presets import Preset, TransformerSize

# 12 patches of 4³ voxels.
TINY = Preset((8, 12, 8), 20.0, 4, TransformerSize(24, 2, 2), TransformerSize(12, 1, 2), 4,
              (8, 16, 16), TransformerSize(24, 2, 2))
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class DPCase:
    """A network, its losses, and its inputs of one subject with so many views, by a seed."""

    network: nn.Module
    losses: Callable[[Inputs], Tensor]
    subject: Callable[[int, int], Inputs]


@pytest.fixture
def dp_case() -> Callable[..., DPCase]:
    """Make the case of a network: `mae`, `decoder` or `dit`."""

    def make(name: str, preset: Preset = TINY, *, stirred: bool = True) -> DPCase:
        torch.manual_seed(0)
        build = {"mae": MaskedAutoencoder, "decoder": LatentDecoder, "dit": DiffusionTransformer}[name]
        network = build(preset)
        if stirred:  # so that no weight stays at its zero start
            generator = torch.Generator().manual_seed(7)
            with torch.no_grad():
                for weights in network.parameters():
                    weights.add_(torch.randn(weights.shape, generator=generator), alpha=0.1)

        def losses(inputs: Inputs) -> Tensor:
            return flow_loss(network, *inputs) if name == "dit" else network(*inputs)

        def subject(views: int, seed: int) -> Inputs:
            return _inputs(name, preset, views, torch.Generator().manual_seed(1000 + seed))

        return DPCase(network, losses, subject)

    return make


def _inputs(name: str, preset: Preset, views: int, generator: torch.Generator) -> Inputs:
    def normal(*shape: int) -> Tensor:
        return torch.randn(views, *shape, generator=generator)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(views, *shape, generator=generator)

    latent = (preset.latent_channels, *preset.grid)
    if name == "mae":
        return normal(1, *preset.shape), uniform(preset.num_patches)
    if name == "decoder":
        tokens = normal(preset.num_patches, preset.encoder.width)
        return tokens, normal(1, *preset.shape), normal(*latent), uniform()
    counts = torch.tensor([len(variable.codes) for variable in VARIABLES])
    conditions = torch.where(counts > 0, (uniform(6) * counts).floor(), uniform(6))
    conditions = torch.where(uniform(6) < 0.2, torch.nan, conditions)
    return normal(*latent), normal(*latent), uniform(), conditions, uniform(6) < 0.3
