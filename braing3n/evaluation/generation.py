"""Brains out of the diffusion transformer, from conditions and a seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from braing3n.conditions import Conditions
from braing3n.models.dit import DiffusionTransformer
from braing3n.models.flow import sample
from braing3n.networks import Latents, build_dit, open_latents
from braing3n.plan import Part, Plan
from braing3n.presets import PRESETS
from braing3n.weights import State

# Samples of one pass through the networks.
BATCH_SIZE = 8


@dataclass(frozen=True)
class Sampler:
    """The finished model as a generator of volumes.

    Attributes:
        plan: The plan that it was trained by: preset, guidance and sampling steps.
        network: The diffusion transformer.
        latents: From latents to voxels.
        device: What to compute on.
    """

    plan: Plan
    network: DiffusionTransformer
    latents: Latents
    device: torch.device

    @torch.no_grad()
    def generate(
        self, wanted: Sequence[Conditions], seeds: Sequence[int],
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Return one volume for each of `wanted`; each is the same in any batch.

        Args:
            wanted: The conditions; what is None is left to the model.
            seeds: Of each one's noise.
            progress: Called with (volumes done, volumes in all).

        Returns:
            (n, 1, X, Y, Z) z-scored volumes on the CPU.
        """
        preset = PRESETS[self.plan.preset]
        stage = self.plan.stages.diffusion
        done: list[Tensor] = []
        for start in range(0, len(wanted), BATCH_SIZE):
            numbers = range(start, min(start + BATCH_SIZE, len(wanted)))
            noise = torch.stack([
                torch.randn(preset.latent_channels, *preset.grid,
                            generator=torch.Generator().manual_seed(seeds[number]))
                for number in numbers
            ])  # (B, C, gx, gy, gz)
            conditions = torch.tensor([wanted[number].encode() for number in numbers])  # (B, 6)
            latent = sample(self.network, conditions.to(self.device), noise.to(self.device),
                            stage.sampling_steps, stage.guidance)
            done.append(self.latents.to_volume(latent).cpu())
            if progress:
                progress(numbers[-1] + 1, len(wanted))
        return torch.cat(done)


def open_sampler(
    plan: Plan, parts: Mapping[Part, State], device: Literal["cpu", "cuda"] = "cpu"
) -> Sampler:
    """Return the generator that a finished run's parts define."""
    place = torch.device(device)
    network = build_dit(plan)
    network.load_state_dict(parts["dit"])
    return Sampler(plan, network.to(place).eval(), open_latents(plan, parts, place), place)


def age_by_diagnosis(
    sampler: Sampler, ages: Sequence[float], diagnoses: Sequence[str], seed: int
) -> npt.NDArray[np.float32]:
    """Return an (ages, diagnoses, X, Y, Z) grid of T1w volumes.

    All start from the same noise, so that what differs is what was asked for.
    """
    base = Conditions(modality="T1w")
    wanted = [replace(base, age_years=age, diagnosis=diagnosis)
              for age in ages for diagnosis in diagnoses]
    volumes = sampler.generate(wanted, [seed] * len(wanted))  # (A · D, 1, X, Y, Z)
    grid: npt.NDArray[np.float32] = volumes.numpy()
    return grid.reshape(len(ages), len(diagnoses), *grid.shape[2:])
