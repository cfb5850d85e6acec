"""The sizes of the three networks and of the volumes that they take: one row a preset."""

from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Literal

PresetName = Literal["full", "base", "small", "nano"]


@dataclass(frozen=True)
class TransformerSize:
    """Width, depth and heads of a stack of transformer blocks; the MLP is 4 times as wide."""

    width: int
    depth: int
    heads: int


@dataclass(frozen=True)
class Preset:
    """Everything that fixes the shape of a model's tensors.

    Attributes:
        shape: Voxels of an input volume (X, Y, Z).
        voxel_mm: Edge of a cubic voxel in millimetres.
        patch: Edge of a cubic patch in voxels; divides every number in `shape`.
        encoder: The MAE's encoder, kept after pretraining.
        mae_decoder: The MAE's own decoder, thrown away after pretraining.
        latent_channels: Channels of the projected embeddings.
        cnn_channels: Channels of the CNN decoder from voxels inwards; one more than the number
            of doublings between the latent grid and voxels.
        dit: The diffusion transformer.
    """

    shape: tuple[int, int, int]
    voxel_mm: float
    patch: int
    encoder: TransformerSize
    mae_decoder: TransformerSize
    latent_channels: int
    cnn_channels: tuple[int, ...]
    dit: TransformerSize

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along (X, Y, Z): the shape of the latent grid."""
        x, y, z = self.shape
        return x // self.patch, y // self.patch, z // self.patch

    @property
    def num_patches(self) -> int:
        """N, the number of patches of one volume."""
        return prod(self.grid)


_WHOLE_BRAIN = (160, 192, 160)

# Rows marked F are the paper's model card or its precursor's; the rest is our choice.
PRESETS = MappingProxyType({
    # F: encoder, patch and input shape.
    "full": Preset(_WHOLE_BRAIN, 1.0, 16, TransformerSize(1152, 12, 16), TransformerSize(384, 4, 6),
                   64, (32, 64, 128, 256, 256), TransformerSize(768, 12, 12)),
    # F: encoder (the precursor's "base").
    "base": Preset(_WHOLE_BRAIN, 1.0, 16, TransformerSize(576, 8, 8), TransformerSize(288, 4, 6),
                   64, (32, 64, 128, 256, 256), TransformerSize(576, 8, 8)),
    # F: encoder (the precursor's "small").
    "small": Preset(_WHOLE_BRAIN, 1.0, 16, TransformerSize(192, 4, 4), TransformerSize(192, 2, 4),
                    64, (16, 32, 64, 128, 128), TransformerSize(384, 6, 6)),
    # For CPUs and tests: 4 mm voxels, 150 patches.
    "nano": Preset((40, 48, 40), 4.0, 8, TransformerSize(144, 4, 4), TransformerSize(96, 2, 4),
                   64, (8, 8, 32, 64), TransformerSize(144, 4, 4)),
})
