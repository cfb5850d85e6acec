"""From frozen embeddings to latents by a linear projection, and to voxels by a CNN."""

import torch
import torch.nn.functional as F
from monai.networks.nets.autoencoderkl import Decoder
from torch import Tensor, nn

from braing3n.models.patches import unpatchify
from braing3n.models.transformer import initialise_linear
from braing3n.presets import Preset

_BACKGROUND_WEIGHT = 0.1  # of a voxel outside the brain; with 28 % brain, a fifth of the loss
_WINDOW = 4  # voxels; 4³ = 64 are as many as in the 8 × 8 windows of Wang and Bovik
_DATA_RANGE = 10.0  # z-scored volumes are clipped to ±5


class LatentDecoder(nn.Module):
    """Projects each token to a few channels, and decodes the grid of them to a volume.

    The CNN has one residual block per resolution and no attention. Work at voxel resolution is
    nearly all that it costs, so there it has a block only if a preset narrows the channels. A
    linear readout of each token's own patch is added to it: that carries the coarse brain from the
    first steps, and leaves to the CNN what crosses patches (our choice).

    Args:
        preset: Sizes.
        structure_weight: Weight of 1 − SSIM beside the L1 error.
    """

    def __init__(self, preset: Preset, structure_weight: float = 0.1) -> None:
        super().__init__()
        width, channels = preset.encoder.width, preset.latent_channels
        finest, second, *_ = preset.cnn_channels
        num_levels = len(preset.cnn_channels)
        self.grid, self.structure_weight = preset.grid, structure_weight
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.projection = nn.Linear(width, channels)
        initialise_linear(self.projection)
        cnn = Decoder(
            spatial_dims=3, in_channels=channels, out_channels=1, channels=preset.cnn_channels,
            num_res_blocks=[int(finest != second)] + [1] * (num_levels - 1),
            norm_num_groups=4, norm_eps=1e-6,
            attention_levels=[False] * num_levels, with_nonlocal_attn=False,
            # Learned upsampling by 2³ kernels takes 3 % of the work of a 3³ one after resizing.
            use_convtranspose=True,
        )
        # On CPUs, convolutions with few channels are twice as fast with the channels innermost.
        self.cnn = cnn.to(memory_format=torch.channels_last_3d)
        self.readout = nn.Linear(channels, preset.patch**3)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def project(self, tokens: Tensor) -> Tensor:
        """Return latents of embeddings: (B, N, E) -> (B, C, gx, gy, gz)."""
        latent: Tensor = self.projection(self.norm(tokens))                # (B, N, C)
        return latent.transpose(1, 2).reshape(len(latent), -1, *self.grid)  # (B, C, gx, gy, gz)

    def decode(self, latent: Tensor) -> Tensor:
        """Return volumes of latents: (B, C, gx, gy, gz) -> (B, 1, X, Y, Z)."""
        # On one thread, torch convolves a batch of one by a kernel ten times as slow as for two.
        is_slow = len(latent) == 1 and latent.device.type == "cpu"
        several = torch.cat([latent, latent]) if is_slow else latent
        volume: Tensor = self.cnn(several.contiguous(memory_format=torch.channels_last_3d))
        volume = volume[: len(latent)]                                     # (B, 1, X, Y, Z)
        patches = self.readout(latent.flatten(2).transpose(1, 2))          # (B, N, P³)
        return volume + unpatchify(patches, self.grid)                     # (B, 1, X, Y, Z)

    def forward(self, tokens: Tensor, volume: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Return each volume's reconstruction error from noised latents.

        Noise is measured in deviations of the volume's own latent channels. Otherwise the
        projection would learn to drown it by growing. These deviations include the pattern that
        all brains share, so σ is somewhat more noise here than in normalised latents.

        Args:
            tokens: (B, N, E) embeddings of `volume`.
            volume: (B, 1, X, Y, Z) z-scored intensities, background exactly 0.
            noise: (B, C, gx, gy, gz) standard normal.
            sigma: (B,) standard deviation of the noise, 0 or more.

        Returns:
            (B,) L1 + `structure_weight` · (1 − SSIM), mostly over the brain.
        """
        latent = self.project(tokens)                                      # (B, C, gx, gy, gz)
        scale = latent.detach().std(dim=(2, 3, 4), keepdim=True)           # (B, C, 1, 1, 1)
        decoded = self.decode(latent + sigma.view(-1, 1, 1, 1, 1) * scale * noise).float()
        weight = torch.where(volume != 0, 1.0, _BACKGROUND_WEIGHT)         # (B, 1, X, Y, Z)
        error = _weighted_mean((decoded - volume).abs(), weight)           # (B,)
        return error + self.structure_weight * (1 - structural_similarity(decoded, volume, weight))


def structural_similarity(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Return the SSIM of each pair of volumes, as a loss needs it: coarse but cheap.

    Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861, with uniform windows of 4³ voxels
    that overlap by half, and a fixed data range of 10.

    Args:
        first: (B, 1, X, Y, Z).
        second: (B, 1, X, Y, Z).
        weight: (B, 1, X, Y, Z) positive; a window counts by its mean weight.

    Returns:
        (B,) at most 1; 1 for equal volumes.
    """
    def local_mean(values: Tensor) -> Tensor:
        return F.avg_pool3d(values, _WINDOW, stride=_WINDOW // 2)

    first, second = first.float(), second.float()
    mean_a, mean_b = local_mean(first), local_mean(second)                 # (B, 1, x, y, z)
    spread = local_mean(first.square() + second.square()) - mean_a.square() - mean_b.square()
    covariance = local_mean(first * second) - mean_a * mean_b              # (B, 1, x, y, z)
    c1, c2 = (0.01 * _DATA_RANGE) ** 2, (0.03 * _DATA_RANGE) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    structure = (2 * covariance + c2) / (spread + c2)                      # (B, 1, x, y, z)
    return _weighted_mean(luminance * structure, local_mean(weight))       # (B,)


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Average over each volume: (B, 1, X, Y, Z) twice -> (B,)."""
    return (weight * values).flatten(1).sum(dim=1) / weight.flatten(1).sum(dim=1)
