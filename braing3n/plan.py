"""The coordinator's plan: what is trained, in which order, for how long, from which seed."""

from pathlib import Path
from typing import Annotated, Literal, assert_never, get_args

from pydantic import Field, model_validator

from braing3n.files import canonical_json, digest_bytes
from braing3n.optimizer_plan import MergePlan, OptimizerPlan, ServerOptimizerPlan
from braing3n.payloads import PayloadType
from braing3n.presets import PresetName
from braing3n.privacy_plan import PlanBudget, StagePrivacy
from braing3n.probe_messages import MAX_PROBES, ProbeName
from braing3n.sweep import apply_sweep
from braing3n.yaml_files import StrictModel, load_yaml, misfit, parse

StageName = Literal["pretrain", "decoder", "diffusion"]
# What stages hand on, frozen.
Part = Literal["encoder", "decoder", "statistics", "dit"]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)

Start = Literal["fresh", "phantom", "public"]

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class StagePlan(StrictModel):
    """What every stage has: rounds, local work, batch and the two optimisers.

    Give either `local_steps` or `local_epochs`: the work of one site in one round.

    Attributes:
        rounds: How many.
        measure_every: Before every how many rounds each site measures the global weights on its
            held-out subjects; before the first it always does, and after the last.
        start: Initial weights: `fresh` ones of the seed, or those of a file that the coordinator was
            given, trained on the synthetic `phantom` or on a `public` cohort.
        merge: How the updates of a round become one.
        payload: In which type updates travel; what rounding takes from one goes into the next.
        privacy: How sites with a budget train it; None is without differential privacy.
    """

    rounds: Count
    measure_every: Count = 1
    local_steps: Count | None = None
    local_epochs: Positive | None = None
    batch_size: Count
    optimizer: OptimizerPlan
    server: ServerOptimizerPlan = ServerOptimizerPlan()
    merge: MergePlan = MergePlan()
    payload: PayloadType = "float32"
    start: Start = "fresh"
    privacy: StagePrivacy | None = None

    @model_validator(mode="after")
    def _one_measure_of_work(self) -> "StagePlan":
        if self.privacy is not None and self.local_steps is None:  # epochs tell a number of scans
            raise misfit(self, {"local_steps": ("a number of steps, as the stage has `privacy`",
                                                "give local_steps, not local_epochs")})
        if (self.local_steps is None) == (self.local_epochs is None):
            key = "local_steps" if self.local_steps is None else "local_epochs"
            raise misfit(self, {key: ("exactly one of local_steps and local_epochs",
                                      "give either local_steps or local_epochs")})
        return self

    def steps(self, num_volumes: int) -> int:
        """Return the optimiser steps of one round at a site with `num_volumes` volumes."""
        if self.local_steps is not None:
            return self.local_steps
        return max(1, round((self.local_epochs or 0) * num_volumes / self.batch_size))


class PretrainPlan(StagePlan):
    """Stage 1, the masked autoencoder.

    Attributes:
        mask_ratio: Share of patches that are hidden.
        target: `voxels`, or `normalized`: every patch z-scored by its own mean and deviation.
        brain_weight: How much a hidden patch's share of brain voxels weighs in its loss;
            0 counts all patches alike, 1 ignores patches without brain.
        visible_weight: Weight of the error on visible patches, so that embeddings keep the detail
            that stage 2 decodes; 0 is the plain masked autoencoder.
    """

    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.7
    target: Literal["voxels", "normalized"] = "voxels"
    brain_weight: Share = 1.0
    visible_weight: Share = 0.0


class DecoderPlan(StagePlan):
    """Stage 2, the projection and the CNN decoder on frozen embeddings.

    Attributes:
        latent_noise: τ: latents are decoded as z + σε with σ ~ U(0, τ), so that the decoder
            tolerates generated latents (as RAE, arXiv 2510.11690).
        structure_weight: Weight of 1 − SSIM beside the L1 error.
    """

    latent_noise: Annotated[float, Field(ge=0)] = 0.3
    structure_weight: Annotated[float, Field(ge=0)] = 0.1


class DiffusionPlan(StagePlan):
    """Stage 3, the conditional diffusion transformer on projected embeddings.

    Attributes:
        condition_dropout: Probability p that a variable is hidden in training for itself, and p
            again that all are together: any one is hidden with 1 − (1 − p)².
        ema_decay: Decay per local step of the averaged weights that samples come from.
        guidance: Classifier-free guidance scale of the report's samples; 1 is none.
        sampling_steps: Euler steps of the report's samples.
    """

    condition_dropout: Share = 0.1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    guidance: Annotated[float, Field(ge=0)] = 3.0
    sampling_steps: Count = 50

    @model_validator(mode="after")
    def _average_and_guidance_have_what_they_need(self) -> "DiffusionPlan":
        mistakes = {}
        if self.local_steps is None:
            mistakes["local_steps"] = ("a number of steps: the moving average counts steps",
                                       "give local_steps, not local_epochs")
        if self.guidance != 1 and not self.condition_dropout:
            mistakes["condition_dropout"] = (
                f"above 0, as `guidance: {self.guidance:g}` starts from what is trained without "
                "conditions", "raise `condition_dropout`, or write `guidance: 1`")
        if mistakes:
            raise misfit(self, mistakes)
        return self


class StagePlans(StrictModel):
    """The three stages, in the order in which they run."""

    pretrain: PretrainPlan
    decoder: DecoderPlan
    diffusion: DiffusionPlan


class Plan(StrictModel):
    """One federated run, whole: two runs of one plan on the same data give the same models.

    Attributes:
        name: For people.
        seed: Seeds the initial weights, every mask, every noise and every batch.
        preset: The sizes of the networks; see `braing3n.presets`.
        min_sites: A round with fewer usable replies fails the run.
        sites_per_round: How many sites train in each round, drawn anew from the seed; None is all.
            Measurements and latent statistics are of all sites.
        round_timeout_s: Seconds that a round waits for its slowest site.
        wait_for_lost_s: Seconds that a round which has enough replies waits for sites whose connection
            was lost, once all others have answered or refused. A site that comes back is asked again,
            and has what is left of `round_timeout_s` then; with too few replies, all of that is waited.
        last_stage: The stage that the run ends with.
        probes: Tasks of probe_tasks.yaml that the frozen encoder is probed with after the first
            stage, at the sites that allow it; `sex/logistic` is the task `sex` by another method.
        budget: What the plan may cost a site; needed where a stage has `privacy`.
        stages: The three stages.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    preset: PresetName
    min_sites: Count = 2
    sites_per_round: Count | None = None
    round_timeout_s: Positive = 3600.0
    wait_for_lost_s: Annotated[float, Field(ge=0)] = 120.0
    last_stage: StageName = "diffusion"
    probes: Annotated[tuple[ProbeName, ...], Field(max_length=MAX_PROBES)] = ()
    budget: PlanBudget | None = None
    stages: StagePlans

    @model_validator(mode="after")
    def _settings_fit_each_other(self) -> "Plan":
        mistakes = {}
        noised = [name for name in STAGE_NAMES if self.stage(name).privacy]
        if self.budget is None and noised:
            mistakes["budget"] = (
                f"the most that a run may cost a site, as there is `privacy` in {', '.join(noised)}",
                "write a `budget:` with its epsilon, or take `privacy` out of the stages")
        if self.sites_per_round is not None and self.sites_per_round < self.min_sites:
            mistakes["sites_per_round"] = (f"at least `min_sites: {self.min_sites}`",
                                           "raise `sites_per_round`, or lower `min_sites`")
        twice = {name for name in self.probes if self.probes.count(name) > 1}
        if twice:
            mistakes["probes"] = (f"each once, not {', '.join(sorted(twice))} twice",
                                  "name each task of `probes` once")
        if mistakes:
            raise misfit(self, mistakes)
        return self

    @property
    def stage_names(self) -> tuple[StageName, ...]:
        """The stages of this run, in their order."""
        return STAGE_NAMES[:STAGE_NAMES.index(self.last_stage) + 1]

    @property
    def gathers_moments(self) -> bool:
        """Whether sites are asked for latent moments, once, after the last round of the decoder.

        Not where diffusion goes on from weights that were trained before: those are for latents as
        they were normalised then.
        """
        goes_on = "diffusion" in self.stage_names and self.stages.diffusion.start != "fresh"
        return "decoder" in self.stage_names and not goes_on

    def stage(self, name: StageName) -> PretrainPlan | DecoderPlan | DiffusionPlan:
        """Return the plan of one stage."""
        if name == "pretrain":
            return self.stages.pretrain
        if name == "decoder":
            return self.stages.decoder
        if name == "diffusion":
            return self.stages.diffusion
        assert_never(name)

    def canonical(self) -> str:
        """Return the plan's one JSON text, which travels and is digested."""
        return canonical_json(self.model_dump(mode="json")).decode()

    @property
    def digest(self) -> str:
        """The sha256 of the plan's canonical text."""
        return digest_bytes(self.canonical().encode())


def load_plan(path: Path, sweep: str = "") -> Plan:
    """Read a plan from YAML, with the values of a sweep in place of the file's.

    Args:
        path: The YAML file.
        sweep: Replacements as `key.path=value`, separated by blanks, such as
            `seed=3 stages.pretrain.optimizer.learning_rate=1e-3`.

    Raises:
        ConfigError: The file or a replacement is wrong; every mistake is in the message.
    """
    content = load_yaml(path)
    apply_sweep(content, sweep)
    return parse(Plan, content, f"{path} with --sweep" if sweep else str(path))
