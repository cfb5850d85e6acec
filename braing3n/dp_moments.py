"""Latent moments of a site as the Gaussian mechanism lets them leave; `embeddings` has exact ones."""

from collections.abc import Iterator

import torch
from torch import Tensor

from braing3n.data.examples import Examples, by_subject
from braing3n.embeddings import cache_embeddings
from braing3n.models.decoder import LatentDecoder
from braing3n.plan import Plan
from braing3n.presets import PRESETS
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy.releases import noised_moments
from braing3n.privacy_plan import StagePrivacy
from braing3n.weights import State


def latent_moments_with_dp(
    plan: Plan, data: Examples, encoder: State, decoder: LatentDecoder, device: torch.device,
    privacy: StagePrivacy, num_subjects: int, randomness: SecureRandom,
) -> dict[str, Tensor]:
    """Return noised moments in the layout of the exact ones: the same at every place of the grid.

    Args:
        plan: Sizes and batches.
        data: The site's data.
        encoder: The frozen encoder.
        decoder: The frozen projection and decoder, on `device`.
        device: What to compute on.
        privacy: The plan's bound and noise.
        num_subjects: The public number of subjects that the site is taken to have.
        randomness: Source of the noise.

    Returns:
        `mean` and `mean_square`, each (C, gx, gy, gz).
    """
    digest = cache_embeddings(plan, data, encoder, device)
    preset = PRESETS[plan.preset]
    # LayerNorm gives tokens of mean square 1: without a pattern, a channel's latents deviate by the
    # norm of its weights around its bias. Both are public.
    scale = decoder.projection.weight.detach().norm(dim=1).double().cpu().clamp_min(1e-6)  # (C,)
    offset = decoder.projection.bias.detach().double().cpu()               # (C,)

    def moments() -> Iterator[tuple[Tensor, Tensor]]:
        for examples in by_subject(data.train):
            with torch.no_grad():
                latent = decoder.project(data.tokens(examples, digest).to(device)).double().cpu()
            latent = (latent.flatten(2) - offset[:, None]) / scale[:, None]  # (V, C, N)
            yield latent.mean(dim=(0, 2)), latent.square().mean().sqrt()

    means, variance = noised_moments(
        moments(), preset.latent_channels, privacy.moments_bound, privacy.release_noise_multiplier,
        num_subjects, randomness)
    mean = offset + scale * means                                          # (C,)
    mean_square = mean.square() + scale.square() * variance                # (C,)

    def everywhere(values: Tensor) -> Tensor:
        return values.float().view(-1, 1, 1, 1).expand(-1, *preset.grid).contiguous()

    return {"mean": everywhere(mean), "mean_square": everywhere(mean_square)}
