"""Patients that the auditor makes up, and the real objectives on them: an audit needs no data."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from braing3n.conditions import Conditions
from braing3n.data.examples import Example, chunks
from braing3n.embeddings import latent_moments
from braing3n.models.latents import LatentStatistics
from braing3n.networks import build_autoencoder, build_decoder, open_decoder
from braing3n.objectives import StageObjective, open_objective
from braing3n.optimizer_plan import OptimizerPlan
from braing3n.plan import (
    DecoderPlan,
    DiffusionPlan,
    Part,
    Plan,
    PretrainPlan,
    StageName,
    StagePlans,
)
from braing3n.presets import Preset, PresetName
from braing3n.privacy_plan import PlanBudget, StagePrivacy
from braing3n.training import seed_for
from braing3n.weights import State

_CPU = torch.device("cpu")
CANARY = "canary-"


class MadeSubjects:
    """Ordinary patients with smooth brains, one or two volumes each, and canaries with strange ones.

    A canary's volume repeats one pattern of two intensities in every patch. Patterns are drawn anew for
    each, so that their gradients point in directions of their own.

    Args:
        preset: Sizes.
        num_ordinary: Ordinary patients.
        num_canaries: Canaries.
        seed: Of all volumes.
    """

    held_out: tuple[Example, ...] = ()

    def __init__(self, preset: Preset, num_ordinary: int, num_canaries: int, seed: int) -> None:
        self._preset, self._seed = preset, seed
        self._tokens: dict[tuple[str, str], Tensor] = {}
        self.ordinary = tuple(
            _example(f"sub-{number:04d}", volume)
            for number in range(num_ordinary) for volume in range(1 + number % 2))
        self.canaries = tuple(_example(f"{CANARY}{number:04d}", 0) for number in range(num_canaries))
        self.train = self.ordinary + self.canaries

    def volumes(self, examples: Sequence[Example]) -> Tensor:
        """Return (B, 1, X, Y, Z) volumes, which follow from the seed and the examples' keys alone."""
        return torch.stack([self._volume(example) for example in examples])

    def conditions(self, examples: Sequence[Example]) -> Tensor:
        """Return (B, 6)."""
        return torch.tensor([example.conditions for example in examples])

    def tokens(self, examples: Sequence[Example], encoder_digest: str) -> Tensor:
        """Return (B, N, E)."""
        return torch.stack([self._tokens[encoder_digest, example.key] for example in examples])

    def cache_tokens(self, encoder_digest: str, encode: Callable[[Tensor], Tensor],
                     batch_size: int) -> None:
        """Keep the tokens of all examples that there are none of."""
        missing = [example for example in self.train
                   if (encoder_digest, example.key) not in self._tokens]
        for batch in chunks(missing, batch_size):
            for example, tokens in zip(batch, encode(self.volumes(batch)), strict=True):
                self._tokens[encoder_digest, example.key] = tokens

    def _volume(self, example: Example) -> Tensor:
        generator = torch.Generator().manual_seed(seed_for(self._seed, example.key))
        if example.subject.startswith(CANARY):
            patch = self._preset.patch
            is_dark = torch.rand(1, patch, patch, patch, generator=generator) < 0.5
            return torch.where(is_dark, -2.0, 2.0).repeat(1, *self._preset.grid)  # (1, X, Y, Z)
        coarse = torch.randn(1, 1, 4, 4, 4, generator=generator)
        smooth = F.interpolate(coarse, self._preset.shape, mode="trilinear")[0]
        return torch.where(_ellipsoid(self._preset.shape), smooth, 0.0)    # (1, X, Y, Z)


def made_plan(
    preset: PresetName, stage: StageName, privacy: StagePrivacy, *, rounds: int, local_steps: int,
    seed: int,
) -> Plan:
    """Return a plan that trains one stage with differential privacy, in the manner of demo-dp.yaml."""
    noised = {"privacy": privacy, "rounds": rounds, "local_steps": local_steps}
    plain = {"rounds": 1, "local_steps": 1}
    settings = {name: {
        "batch_size": 8, "optimizer": OptimizerPlan(learning_rate=2e-4, weight_decay=0.0),
        **(noised if name == stage else plain)} for name in ("pretrain", "decoder", "diffusion")}
    return Plan(
        name="audit", preset=preset, seed=seed % 2**31, min_sites=1, budget=PlanBudget(epsilon=1000.0),
        stages=StagePlans(
            pretrain=PretrainPlan.model_validate({"visible_weight": 1.0, **settings["pretrain"]}),
            decoder=DecoderPlan.model_validate(settings["decoder"]),
            diffusion=DiffusionPlan.model_validate(settings["diffusion"])))


def open_made(plan: Plan, stage: StageName, subjects: MadeSubjects) -> Callable[[], StageObjective]:
    """Return how the objective of a stage is opened, with fresh objects every time.

    What it builds on has fresh weights: nothing here is about how good they are.
    """
    torch.manual_seed(plan.seed)
    frozen: dict[Part, State] = {}
    if stage != "pretrain":
        frozen["encoder"] = build_autoencoder(plan).encoder.state_dict()
    if stage == "diffusion":
        frozen["decoder"] = build_decoder(plan).state_dict()
        decoder = open_decoder(plan, frozen["decoder"], _CPU)
        moments = latent_moments(plan, subjects, frozen["encoder"], decoder, _CPU)
        found = LatentStatistics.from_moments(moments["mean"], moments["mean_square"])
        frozen["statistics"] = {"mean": found.mean, "variance": found.variance}

    def fresh() -> StageObjective:
        torch.manual_seed(plan.seed)
        return open_objective(plan, stage, subjects, frozen, _CPU)

    return fresh


def made_privacy(noise_multiplier: float, sample_rate: float, views: int) -> StagePrivacy:
    """Return the numbers of a made plan; C is below the gradients' norms, as it has to be to matter."""
    return StagePrivacy(noise_multiplier=noise_multiplier, sample_rate=sample_rate, clip_norm=0.1,
                        views=views)


def _example(subject: str, volume: int) -> Example:
    number = int(subject[-4:])
    conditions = Conditions(age_years=40.0 + number % 40, sex="FM"[number % 2], modality="T1w")
    return Example(subject, None, "T1w", f"{subject}-{volume}", conditions.encode())


def _ellipsoid(shape: tuple[int, int, int]) -> Tensor:
    """Return (X, Y, Z) bool: an ellipsoid that touches the sides of the box, as a brain does."""
    axes = [torch.linspace(-1, 1, length) for length in shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return x**2 + y**2 + z**2 < 1
