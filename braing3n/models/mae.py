"""The 3D masked autoencoder: its encoder is what every later stage builds on.

After He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners",
https://arxiv.org/abs/2111.06377; sizes in `braing3n.presets`.

Shapes: B volumes, N patches, K visible ones, E encoder width, D width of the MAE's own decoder,
P patch edge, X Y Z voxels.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from braing3n.models.patches import patchify, unpatchify
from braing3n.models.transformer import Block, grid_positions, grid_waves, initialise_linear
from braing3n.presets import Preset

_TINY = 1e-6  # far below the weight of one brain voxel in a patch of 16³


def choose_visible(noise: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Split the patches of each volume into visible and hidden ones.

    Args:
        noise: (B, N) random numbers; the K smallest of a row stay visible.
        ratio: Share of patches to hide. At least one patch stays visible and one is hidden.

    Returns:
        Indices of the visible (B, K) and of the hidden (B, N - K) patches.
    """
    num_patches = noise.shape[1]
    num_visible = min(max(round(num_patches * (1 - ratio)), 1), num_patches - 1)
    order = noise.argsort(dim=1, stable=True)                              # (B, N)
    return order[:, :num_visible], order[:, num_visible:]


def take(patches: Tensor, indices: Tensor) -> Tensor:
    """Pick patches of each volume: (B, N, F) at indices (B, K) -> (B, K, F)."""
    rows = torch.arange(len(patches), device=indices.device).unsqueeze(1)  # (B, 1)
    # Indexing copies whole rows, 20 times as fast as `take_along_dim` picks single numbers.
    return patches[rows, indices]


class Encoder(nn.Module):
    """A vision transformer over the patches of a volume, or over the visible ones alone.

    Args:
        preset: Sizes.
    """

    places: Tensor

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width, depth, heads = preset.encoder.width, preset.encoder.depth, preset.encoder.heads
        self.shape, self.patch = preset.shape, preset.patch
        # On flat patches, this is the convolution of kernel and stride P; it can skip patches.
        self.patch_embedding = nn.Linear(self.patch**3, width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        # Fixed numbers are computed anew everywhere; they never travel.
        self.register_buffer("places", grid_positions(preset.grid, width), persistent=False)
        self.apply(initialise_linear)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, volume: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return one token per patch.

        Args:
            volume: (B, 1, X, Y, Z) z-scored intensities.
            keep: (B, K) indices of the patches to look at; None is all of them.

        Returns:
            (B, N, E), or (B, K, E) in the order of `keep`.

        Raises:
            ValueError: The volume does not have the preset's shape.
        """
        patches = self.cut(volume)                                         # (B, N, P³)
        if keep is not None:
            patches = take(patches, keep)                                  # (B, K, P³)
        return self.encode(patches, keep)[:, 1:]                           # (B, N or K, E)

    def embed(self, volume: Tensor) -> Tensor:
        """Return one vector per volume, for probes: mean of the tokens, then the CLS token.

        Args:
            volume: (B, 1, X, Y, Z) z-scored intensities.

        Returns:
            (B, 2 E).
        """
        return self.pool(self.encode(self.cut(volume), None))

    @staticmethod
    def pool(tokens: Tensor) -> Tensor:
        """Return (B, 2 E), as `embed` does, of (B, 1 + N, E) tokens with CLS in front."""
        return torch.cat([tokens[:, 1:].mean(dim=1), tokens[:, 0]], dim=1)

    def cut(self, volume: Tensor) -> Tensor:
        """Return the patches (B, N, P³) of volumes that have the preset's shape."""
        if volume.shape[1:] != (1, *self.shape):
            raise ValueError(f"volumes are (B, 1, X, Y, Z) with {self.shape} voxels, "
                             f"not {tuple(volume.shape)}")
        return patchify(volume, self.patch)

    def encode(self, patches: Tensor, keep: Tensor | None) -> Tensor:
        """Return tokens with CLS in front.

        Args:
            patches: (B, K, P³).
            keep: (B, K) places of these patches in the volume; None is all N in order.

        Returns:
            (B, 1 + K, E).
        """
        places = self.places if keep is None else self.places[keep]        # (N, E) or (B, K, E)
        tokens = self.patch_embedding(patches) + places                    # (B, K, E)
        cls = self.cls_token.expand(len(tokens), -1, -1)                   # (B, 1, E)
        encoded: Tensor = self.norm(self.blocks(torch.cat([cls, tokens], dim=1)))
        return encoded                                                     # (B, 1 + K, E)


class MaskedAutoencoder(nn.Module):
    """Hides most patches of a volume and predicts them from the rest.

    Patches are weighted by their share of brain, because a box is mostly background, which
    anything predicts (our choice, not the paper's).

    Args:
        preset: Sizes.
        mask_ratio: Share of patches that are hidden, in (0, 1).
        target: `voxels`, or `normalized`: each patch z-scored by its own mean and deviation.
        brain_weight: 0 counts all patches alike, 1 by their share of brain voxels; between them
            linearly.
        visible_weight: Weight of the error on visible patches beside that on hidden ones; 0 is the
            plain masked autoencoder.
    """

    places: Tensor

    def __init__(
        self,
        preset: Preset,
        mask_ratio: float = 0.7,
        target: Literal["voxels", "normalized"] = "voxels",
        brain_weight: float = 1.0,
        visible_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.grid, self.ratio = preset.grid, mask_ratio
        self.target, self.brain_weight = target, brain_weight
        self.visible_weight = visible_weight
        size = preset.mae_decoder
        self.encoder = Encoder(preset)
        self.narrow = nn.Linear(preset.encoder.width, size.width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, size.width))
        self.blocks = nn.Sequential(*(Block(size.width, size.heads) for _ in range(size.depth)))
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, preset.patch**3)
        self.register_buffer("places", grid_waves(preset.grid, size.width), persistent=False)
        for part in (self.narrow, self.blocks, self.head):
            part.apply(initialise_linear)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, volume: Tensor, noise: Tensor) -> Tensor:
        """Return each volume's training loss: the masked loss, and some of the visible patches'.

        Tokens that need only help to predict their neighbours forget their own detail, which the
        decoder of the next stage then misses; `visible_weight` makes them keep it (our choice).
        Arguments and result are those of `masked_loss`.
        """
        patches = self.encoder.cut(volume)                                 # (B, N, P³)
        keep, hide = choose_visible(noise, self.ratio)                     # (B, K), (B, N - K)
        visible = take(patches, keep)                                      # (B, K, P³)
        seen, guessed = self._predict(visible, keep, hide)                 # of (B, K), (B, N - K)
        loss = self._score(guessed, take(patches, hide))                   # (B,)
        if self.visible_weight:
            loss = loss + self.visible_weight * self._score(seen, visible)
        return loss                                                        # (B,)

    def masked_loss(self, volume: Tensor, noise: Tensor) -> Tensor:
        """Return each volume's prediction error over its hidden patches.

        Args:
            volume: (B, 1, X, Y, Z) z-scored intensities, background exactly 0.
            noise: (B, N) uniform; the K smallest of a row stay visible. An argument, not drawn
                here, so that a test or an audit can fix the mask.

        Returns:
            (B,) mean absolute error in units of the target, patches weighted by `brain_weight`;
            0 for a volume whose hidden patches have no weight.
        """
        patches = self.encoder.cut(volume)                                 # (B, N, P³)
        keep, hide = choose_visible(noise, self.ratio)                     # (B, K), (B, N - K)
        _, guessed = self._predict(take(patches, keep), keep, hide)        # (B, N - K, P³)
        return self._score(guessed, take(patches, hide))                   # (B,)

    def trivial_loss(self, volume: Tensor, noise: Tensor) -> Tensor:
        """Return what predicting zero, the mean of a z-scored volume, would cost.

        A network whose loss is no lower has learnt nothing. Arguments and result are those of
        `masked_loss`: the same hidden patches, the same weights.
        """
        patches = self.encoder.cut(volume)                                 # (B, N, P³)
        hidden = take(patches, choose_visible(noise, self.ratio)[1])       # (B, N - K, P³)
        return self._score(torch.zeros_like(hidden), hidden)               # (B,)

    @torch.no_grad()
    def reconstruct(self, volume: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the hidden patches with predictions, for pictures.

        With `normalized` targets, a prediction is scaled back by the mean and deviation of the
        true patch, which the network has not seen.

        Args:
            volume: (B, 1, X, Y, Z) z-scored intensities.
            noise: (B, N) as in `masked_loss`.

        Returns:
            Volumes (B, 1, X, Y, Z), visible patches unchanged; which patches were hidden (B, N).
        """
        patches = self.encoder.cut(volume)                                 # (B, N, P³)
        keep, hide = choose_visible(noise, self.ratio)                     # (B, K), (B, N - K)
        _, guessed = self._predict(take(patches, keep), keep, hide)        # (B, N - K, P³)
        filling = guessed.to(patches.dtype)                                # (B, N - K, P³)
        if self.target == "normalized":
            mean, deviation = _moments(take(patches, hide))                # (B, N - K, 1) each
            filling = filling * deviation + mean                           # (B, N - K, P³)
        index = hide.unsqueeze(2).expand_as(filling)                       # (B, N - K, P³)
        filled = unpatchify(patches.scatter(1, index, filling), self.grid)  # (B, 1, X, Y, Z)
        hidden = torch.zeros_like(noise, dtype=torch.bool).scatter(1, hide, value=True)
        return filled, hidden                                              # and (B, N)

    def _predict(self, visible: Tensor, keep: Tensor, hide: Tensor) -> tuple[Tensor, Tensor]:
        """Predict visible (B, K, P³) and hidden patches (B, N - K, P³) from the visible ones."""
        tokens = self.narrow(self.encoder.encode(visible, keep))           # (B, 1 + K, D)
        # Attention knows no order: hidden patches come last, so nothing has to be sorted back.
        tokens = torch.cat([
            tokens[:, :1],                                                 # CLS (B, 1, D)
            tokens[:, 1:] + self.places[keep],                             # (B, K, D)
            self.mask_token + self.places[hide],                           # (B, N - K, D)
        ], dim=1)
        prediction: Tensor = self.head(self.norm(self.blocks(tokens)[:, 1:]))  # (B, N, P³)
        return prediction[:, : keep.shape[1]], prediction[:, keep.shape[1] :]

    def _score(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Compare predicted and true patches: (B, M, P³) twice -> (B,)."""
        brain = (truth != 0).float().mean(dim=2)                           # (B, M)
        weight = 1 - self.brain_weight + self.brain_weight * brain         # (B, M)
        target = truth
        if self.target == "normalized":
            mean, deviation = _moments(truth)                              # (B, M, 1) each
            target = (truth - mean) / deviation                            # (B, M, P³)
        error = (prediction - target).abs().mean(dim=2)                    # (B, M)
        return (weight * error).sum(dim=1) / weight.sum(dim=1).clamp_min(_TINY)


def _moments(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return each patch's own mean and standard deviation: (B, M, P³) -> (B, M, 1) twice."""
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return mean, (variance + _TINY).sqrt()
