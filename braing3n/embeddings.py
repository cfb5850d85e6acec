"""Embeddings of a site's volumes by the frozen encoder, and the moments of their latents."""

from functools import cache

import torch
from torch import Tensor

from braing3n.data.examples import MIN_SUBJECTS_FOR_MOMENTS, Examples, chunks
from braing3n.errors import CohortError
from braing3n.models.decoder import LatentDecoder
from braing3n.models.mae import Encoder
from braing3n.plan import Plan
from braing3n.presets import PRESETS
from braing3n.weights import State, digest_state


def cache_embeddings(plan: Plan, data: Examples, encoder: State, device: torch.device) -> str:
    """Embed every volume that is not embedded yet, and return the encoder's digest."""
    digest = digest_state(encoder)

    @cache  # a message that finds every volume embedded builds no network
    def network() -> Encoder:
        built = Encoder(PRESETS[plan.preset]).to(device)
        built.load_state_dict(encoder)
        return built.eval()

    @torch.no_grad()
    def encode(volumes: Tensor) -> Tensor:
        # A lost entry is computed again in the middle of a training step, which may be in bf16.
        with torch.autocast(device.type, enabled=False):
            tokens: Tensor = network()(volumes.to(device))
        return tokens

    data.cache_tokens(digest, encode, plan.stages.pretrain.batch_size)
    return digest


def latent_moments(
    plan: Plan, data: Examples, encoder: State, decoder: LatentDecoder, device: torch.device
) -> dict[str, Tensor]:
    """Return the latents' mean and mean square at every place over a site's training volumes.

    Weighted by the number of volumes, the means of these over sites are those of all volumes
    together, so that single volumes' latents need not leave a site.

    Args:
        plan: Sizes and batches.
        data: The site's data.
        encoder: The frozen encoder.
        decoder: The frozen projection and decoder, on `device`.
        device: What to compute on.

    Returns:
        `mean` and `mean_square`, each (C, gx, gy, gz).

    Raises:
        CohortError: The mean would be over so few subjects that it shows one of them.
    """
    subjects = len({example.subject for example in data.train})
    if subjects < MIN_SUBJECTS_FOR_MOMENTS:
        raise CohortError("too few subjects for latent statistics",
                          expected=f"at least {MIN_SUBJECTS_FOR_MOMENTS} to train on",
                          found=str(subjects),
                          fix="add subjects; those that were held out once stay so")
    digest = cache_embeddings(plan, data, encoder, device)
    preset = PRESETS[plan.preset]
    total = torch.zeros(2, preset.latent_channels, *preset.grid, dtype=torch.float64)
    with torch.no_grad():
        for batch in chunks(data.train, plan.stages.decoder.batch_size):
            latent = decoder.project(data.tokens(batch, digest).to(device)).double().cpu()
            total += torch.stack([latent, latent**2]).sum(dim=1)  # (2, C, gx, gy, gz)
    mean, mean_square = (total / len(data.train)).float()
    return {"mean": mean, "mean_square": mean_square}
