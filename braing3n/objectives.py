"""What each stage computes at a site: its network, its loss on a batch, its held-out metrics."""

from collections.abc import Mapping, Sequence
from typing import assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from braing3n.conditions import VARIABLES
from braing3n.data.examples import Example, Examples, chunks
from braing3n.embeddings import cache_embeddings
from braing3n.evaluation.reconstruction import mean_volume_psnr, psnr, ssim
from braing3n.models.dit import check_conditions
from braing3n.models.flow import flow_loss, sample_time
from braing3n.models.patches import unpatchify
from braing3n.networks import Latents, build_autoencoder, build_decoder, build_dit, open_latents
from braing3n.plan import Part, Plan, StageName
from braing3n.presets import PRESETS
from braing3n.weights import State

Picture = npt.NDArray[np.float32]
# What a batch's losses are computed from, chance included; each tensor has one row a volume.
Inputs = tuple[Tensor, ...]

# A mean volume over more scans than this looks the same and costs a large site minutes.
MAX_FOR_MEAN = 128
# Held-out volumes that a site measures before every round.
MAX_HELD_OUT = 64


def open_objective(
    plan: Plan, stage: StageName, data: Examples, frozen: Mapping[Part, State], device: torch.device
) -> "StageObjective":
    """Return the work of `stage` on `data`, with the frozen parts that it builds on in place.

    Embeddings of the frozen encoder are computed once and kept in the site's cache.
    """
    if stage == "pretrain":
        return PretrainObjective(plan, data, device)
    digest = cache_embeddings(plan, data, frozen["encoder"], device)
    if stage == "decoder":
        return DecoderObjective(plan, data, digest, device)
    if stage == "diffusion":
        return DiffusionObjective(plan, data, digest, open_latents(plan, frozen, device), device)
    assert_never(stage)


class PretrainObjective:
    """Stage 1: hide patches, predict their voxels."""

    def __init__(self, plan: Plan, data: Examples, device: torch.device) -> None:
        self.network = build_autoencoder(plan).to(device)
        self.device = device
        self._data = data
        self._preset = PRESETS[plan.preset]
        self._batch_size = plan.stages.pretrain.batch_size

    def draw(self, batch: Sequence[Example], generator: torch.Generator) -> Inputs:
        """Return augmented volumes (B, 1, X, Y, Z), and the noise (B, N) that hides patches."""
        volume = augment(self._data.volumes(batch), generator).to(self.device)
        return volume, self._noise(len(batch), generator)

    def losses(self, inputs: Inputs) -> Tensor:
        """Return (B,) errors on augmented volumes."""
        losses: Tensor = self.network(*inputs)
        return losses

    @torch.no_grad()
    def evaluate(self, examples: Sequence[Example], generator: torch.Generator) -> dict[str, float]:
        """Return the masked error, and what predicting the mean scores on the same patches."""
        self.network.eval()
        ours, trivial = [], []
        for batch in chunks(examples, self._batch_size):
            volume = self._data.volumes(batch).to(self.device)
            noise = self._noise(len(batch), generator)
            ours.append(self.network.masked_loss(volume, noise))
            trivial.append(self.network.trivial_loss(volume, noise))
        return {"loss": _mean(ours), "trivial_loss": _mean(trivial)}

    @torch.no_grad()
    def pictures(self, example: Example, generator: torch.Generator) -> dict[str, Picture]:
        """Return the original, what the encoder saw of it (NaN elsewhere), and the MAE's guess."""
        self.network.eval()
        volume = self._data.volumes([example]).to(self.device)
        filled, hidden = self.network.reconstruct(volume, self._noise(1, generator))
        hidden_voxels = unpatchify(
            hidden.float().unsqueeze(2).expand(-1, -1, self._preset.patch**3), self._preset.grid
        )
        masked = torch.where(hidden_voxels > 0, torch.nan, volume)
        return {"original": _picture(volume), "masked": _picture(masked), "mae": _picture(filled)}

    def _noise(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.rand(count, self._preset.num_patches, generator=generator).to(self.device)


class DecoderObjective:
    """Stage 2: from frozen embeddings back to voxels."""

    def __init__(
        self, plan: Plan, data: Examples, encoder_digest: str, device: torch.device
    ) -> None:
        self.network = build_decoder(plan).to(device)
        self.device = device
        self._data = data
        self._encoder_digest = encoder_digest
        self._plan = plan.stages.decoder
        self._latent_shape = (PRESETS[plan.preset].latent_channels, *PRESETS[plan.preset].grid)

    def draw(self, batch: Sequence[Example], generator: torch.Generator) -> Inputs:
        """Return tokens (B, N, E), volumes (B, 1, X, Y, Z), noise (B, C, gx, gy, gz), sigma (B,)."""
        noise = torch.randn(len(batch), *self._latent_shape, generator=generator)
        sigma = torch.rand(len(batch), generator=generator) * self._plan.latent_noise
        return (self._tokens(batch), self._data.volumes(batch).to(self.device),
                noise.to(self.device), sigma.to(self.device))

    def losses(self, inputs: Inputs) -> Tensor:
        """Return (B,) reconstruction errors from noised latents."""
        losses: Tensor = self.network(*inputs)
        return losses

    @torch.no_grad()
    def evaluate(self, examples: Sequence[Example], generator: torch.Generator) -> dict[str, float]:
        """Return PSNR (dB) and SSIM inside the brain, and the PSNR of the site's mean volume."""
        del generator  # nothing is drawn: latents are decoded as they are
        self.network.eval()
        mean = mean_volume(self._data).to(self.device)
        ours, means, structure = [], [], []
        for batch in chunks(examples, self._plan.batch_size):
            volume = self._data.volumes(batch).to(self.device)
            decoded = self._decode(batch)
            ours.append(psnr(volume, decoded))
            means.append(mean_volume_psnr(volume, mean))
            structure.append(ssim(volume, decoded))
        return {"psnr": _mean(ours), "mean_volume_psnr": _mean(means), "ssim": _mean(structure)}

    @torch.no_grad()
    def pictures(self, example: Example, generator: torch.Generator) -> dict[str, Picture]:
        """Return the decoder's reconstruction."""
        del generator  # nothing is drawn
        self.network.eval()
        return {"decoder": _picture(self._decode([example]))}

    def _tokens(self, batch: Sequence[Example]) -> Tensor:
        return self._data.tokens(batch, self._encoder_digest).to(self.device)

    def _decode(self, batch: Sequence[Example]) -> Tensor:
        decoded: Tensor = self.network.decode(self.network.project(self._tokens(batch)))
        return decoded


class DiffusionObjective:
    """Stage 3: the velocity from latents to noise, given the six variables."""

    def __init__(
        self, plan: Plan, data: Examples, encoder_digest: str, latents: Latents,
        device: torch.device,
    ) -> None:
        check_conditions(data.conditions([*data.train, *data.held_out]))
        self.network = build_dit(plan).to(device)
        self.device = device
        self._data = data
        self._encoder_digest = encoder_digest
        self._latents = latents
        self._plan = plan.stages.diffusion

    def draw(self, batch: Sequence[Example], generator: torch.Generator) -> Inputs:
        """Return latents, noise, time, conditions and which of them are hidden; see `flow_loss`."""
        return self._draw(batch, generator, self._plan.condition_dropout)

    def losses(self, inputs: Inputs) -> Tensor:
        """Return (B,) squared errors of the velocity; some variables are hidden by chance."""
        return flow_loss(self.network, *inputs)

    @torch.no_grad()
    def evaluate(self, examples: Sequence[Example], generator: torch.Generator) -> dict[str, float]:
        """Return the velocity error with no variable hidden; what is not known stays so."""
        self.network.eval()
        parts = [
            self.losses(self._draw(batch, generator, 0.0))
            for batch in chunks(examples, self._plan.batch_size)
        ]
        return {"loss": _mean(parts)}

    def pictures(self, example: Example, generator: torch.Generator) -> dict[str, Picture]:
        """Return nothing: what this stage makes is no picture of one subject."""
        del example, generator
        return {}

    def _draw(
        self, batch: Sequence[Example], generator: torch.Generator, dropout: float
    ) -> Inputs:
        tokens = self._data.tokens(batch, self._encoder_digest).to(self.device)
        latent = self._latents.from_tokens(tokens)  # (B, C, gx, gy, gz)
        conditions = self._data.conditions(batch)  # (B, 6)
        noise = torch.randn(latent.shape, generator=generator)
        normal = torch.randn(len(batch), generator=generator)
        hidden = choose_hidden(len(batch), dropout, generator)  # (B, 6)
        time = sample_time(normal, latent[0].numel())
        return (latent, noise.to(self.device), time.to(self.device), conditions.to(self.device),
                hidden.to(self.device))


StageObjective = PretrainObjective | DecoderObjective | DiffusionObjective


def choose_hidden(count: int, dropout: float, generator: torch.Generator) -> Tensor:
    """Choose which variables a batch is trained without.

    Each is hidden by chance on its own, so that any of them may be left open when generating; and
    by the same chance all six are at once, which is what guidance starts from and what chance on
    its own would show one volume in a million.

    Args:
        count: Volumes in the batch.
        dropout: Probability of either, in [0, 1].
        generator: Source of chance.

    Returns:
        (count, 6) bool; True is hidden.
    """
    alone = torch.rand(count, len(VARIABLES), generator=generator) < dropout  # (B, 6)
    together = torch.rand(count, 1, generator=generator) < dropout            # (B, 1)
    return alone | together


def augment(volume: Tensor, generator: torch.Generator) -> Tensor:
    """Flip left and right at random, and scale and shift brain intensities by up to ±0.1.

    Args:
        volume: (B, 1, X, Y, Z) z-scored, X from right to left or back; background exactly 0.
        generator: Source of chance.
    """
    count = len(volume)
    flip = torch.rand(count, generator=generator) < 0.5
    scale, shift = 0.2 * torch.rand(2, count, 1, 1, 1, 1, generator=generator) - 0.1
    volume = torch.where(flip.view(-1, 1, 1, 1, 1), volume.flip(2), volume)
    return torch.where(volume != 0, volume * (1 + scale) + shift, volume)


def mean_volume(data: Examples) -> Tensor:
    """Return the (X, Y, Z) mean of a site's training volumes, of at most `MAX_FOR_MEAN`."""
    chosen = pick(data.train, MAX_FOR_MEAN)
    total = data.volumes(chosen[:1])[0, 0].double()  # (X, Y, Z)
    for example in chosen[1:]:
        total += data.volumes([example])[0, 0]
    return (total / len(chosen)).float()


def pick(examples: Sequence[Example], most: int) -> Sequence[Example]:
    """Return at most `most` examples, the same every time, whatever subject or modality they are of.

    Examples come sorted by subject and modality; their keys are digests, whose order is chance's.
    """
    return sorted(examples, key=lambda example: example.key)[:most]


def _mean(parts: Sequence[Tensor]) -> float:
    return torch.cat(list(parts)).double().mean().item()


def _picture(volume: Tensor) -> Picture:
    picture: Picture = volume[0, 0].float().cpu().numpy()
    return picture
