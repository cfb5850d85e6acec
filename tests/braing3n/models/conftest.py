"""A preset small enough to run everything in milliseconds, and a stirred copy of a network."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from braing3n.presets import Preset, TransformerSize


@pytest.fixture(scope="session")
def tiny() -> Preset:
    """12 patches of 4³ voxels."""
    return Preset((8, 12, 8), 20.0, 4, TransformerSize(24, 2, 2), TransformerSize(12, 1, 2), 4,
                  (4, 8, 8), TransformerSize(24, 2, 2))


@pytest.fixture(scope="session")
def stir() -> Callable[[nn.Module], None]:
    """Returns a function that adds noise to all weights, so that none stays at its zero start."""
    def add_noise(network: nn.Module) -> None:
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for weights in network.parameters():
                weights.add_(torch.randn(weights.shape, generator=generator), alpha=0.1)

    return add_noise
