"""From a plan to the networks that it names, and from frozen parts back to working networks."""

from collections.abc import Mapping
from typing import assert_never

import torch
from torch import Tensor, nn

from braing3n.models.decoder import LatentDecoder
from braing3n.models.dit import DiffusionTransformer
from braing3n.models.latents import LatentStatistics
from braing3n.models.mae import Encoder, MaskedAutoencoder
from braing3n.plan import Part, Plan, StageName
from braing3n.presets import PRESETS, Preset
from braing3n.weights import State


def build_autoencoder(plan: Plan) -> MaskedAutoencoder:
    """Return stage 1's network with fresh initial weights."""
    stage = plan.stages.pretrain
    preset = PRESETS[plan.preset]
    return MaskedAutoencoder(
        preset, stage.mask_ratio, stage.target, stage.brain_weight, stage.visible_weight
    )


def build_decoder(plan: Plan) -> LatentDecoder:
    """Return stage 2's network with fresh initial weights."""
    return LatentDecoder(PRESETS[plan.preset], plan.stages.decoder.structure_weight)


def build_dit(plan: Plan) -> DiffusionTransformer:
    """Return stage 3's network with fresh initial weights."""
    return DiffusionTransformer(PRESETS[plan.preset])


def build_network(plan: Plan, stage: StageName) -> nn.Module:
    """Return the network that `stage` trains with fresh initial weights."""
    if stage == "pretrain":
        return build_autoencoder(plan)
    if stage == "decoder":
        return build_decoder(plan)
    if stage == "diffusion":
        return build_dit(plan)
    assert_never(stage)


def network_like(plan: Plan, stage: StageName) -> State:
    """Return tensors with the names and shapes of the network that `stage` trains, and no values."""
    with torch.device("meta"):
        return dict(build_network(plan, stage).state_dict())


def part_like(plan: Plan, part: Part) -> State:
    """Return tensors with the names and shapes that a frozen part has; their values mean nothing."""
    preset = PRESETS[plan.preset]
    with torch.device("meta"):
        if part == "encoder":
            return dict(Encoder(preset).state_dict())
        if part == "decoder":
            return dict(build_decoder(plan).state_dict())
        if part == "dit":
            return dict(build_dit(plan).state_dict())
        if part == "statistics":
            channels = preset.latent_channels
            return {"mean": torch.empty(channels, *preset.grid), "variance": torch.empty(channels)}
    assert_never(part)


def num_features(preset: Preset) -> int:
    """Return the length of `Encoder.embed`'s vector of one volume."""
    return 2 * preset.encoder.width


def moments_like(plan: Plan) -> State:
    """Return tensors with the names and shapes of a site's latent moments."""
    preset = PRESETS[plan.preset]
    shape = (preset.latent_channels, *preset.grid)
    return {name: torch.empty(shape, device="meta") for name in ("mean", "mean_square")}


def open_decoder(plan: Plan, state: State, device: torch.device) -> LatentDecoder:
    """Return the frozen projection and decoder, ready to use."""
    decoder = build_decoder(plan)
    decoder.load_state_dict(state)
    return decoder.to(device).eval()


class Latents:
    """Frozen projection and decoder, between tokens, normalised latents and voxels.

    Args:
        decoder: Stage 2's network.
        statistics: Latent mean and variance over all sites.
    """

    def __init__(self, decoder: LatentDecoder, statistics: LatentStatistics) -> None:
        self._decoder = decoder
        self._statistics = statistics

    @torch.no_grad()
    def from_tokens(self, tokens: Tensor) -> Tensor:
        """Return (B, C, gx, gy, gz) normalised latents of (B, N, E) tokens."""
        return self._statistics.normalise(self._decoder.project(tokens))

    @torch.no_grad()
    def to_volume(self, latent: Tensor) -> Tensor:
        """Return (B, 1, X, Y, Z) volumes of (B, C, gx, gy, gz) normalised latents."""
        volume: Tensor = self._decoder.decode(self._statistics.restore(latent))
        return volume


def open_latents(plan: Plan, frozen: Mapping[Part, State], device: torch.device) -> Latents:
    """Return the map between tokens, latents and voxels that the frozen parts define."""
    statistics = LatentStatistics(
        mean=frozen["statistics"]["mean"].to(device),
        variance=frozen["statistics"]["variance"].to(device),
    )
    return Latents(open_decoder(plan, frozen["decoder"], device), statistics)
