"""What a site's own IT allows: its privacy budget, and what else may leave."""

from collections.abc import Mapping
from typing import Annotated, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, Field, model_validator

from braing3n.plan import STAGE_NAMES, StageName
from braing3n.presets import PresetName
from braing3n.privacy_plan import Delta, NoiseMultiplier
from braing3n.yaml_files import StrictModel, misfit

EngineName = Literal["loop", "bookkeeping", "opacus"]


class BudgetConfig(StrictModel):
    """A site's privacy budget, for everything that it ever releases on one cohort.

    Attributes:
        epsilon: ε over all stages, rounds, runs, moments and metrics together.
        delta: δ, fixed for the cohort; at most 1 over the number of subjects.
        unit: What one of is protected: one subject, with all of its volumes and visits.
        cohort: The site's name for the patients that the budget is for.
        stages: The stages that the site takes part in at all.
        stage_epsilon: Caps for single stages, over all rounds and runs.
        without_dp: Stages that the site trains without differential privacy. From the first such
            round on, nothing can be said of what the cohort's patients risk.
        min_noise_multiplier: The least σ that a plan may have.
        max_sample_rate: The largest q that a plan may have.
        min_subjects: Fewer training subjects are not trained on.
        engine: How clipped sums are computed; see `braing3n.privacy.dpsgd`.
        microbatch: Subjects that `bookkeeping` and `opacus` compute at once.
    """

    epsilon: Annotated[float, Field(gt=0)]
    delta: Delta = 1e-5
    unit: Literal["subject"] = "subject"
    cohort: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "patients"
    stages: tuple[StageName, ...] = STAGE_NAMES
    stage_epsilon: dict[StageName, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    without_dp: tuple[StageName, ...] = ()
    min_noise_multiplier: NoiseMultiplier = 0.5
    max_sample_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_subjects: Annotated[int, Field(ge=1)] = 50
    engine: EngineName = "loop"
    microbatch: Annotated[int, Field(ge=1, le=1024)] = 8

    @model_validator(mode="after")
    def _caps_within_the_budget(self) -> "BudgetConfig":
        above = [stage for stage, cap in self.stage_epsilon.items() if cap > self.epsilon]
        if above:
            raise misfit(self, {f"stage_epsilon.{stage}": (
                f"at most the whole budget, `epsilon: {self.epsilon:g}`",
                f"lower `stage_epsilon: {stage}:`, or leave it out") for stage in above})
        return self


def _specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError('versions as PEP 440 writes them, such as ">=0.1,<0.2"') from None
    return text


class PlanRules(StrictModel):
    """Which plans a site works on.

    Attributes:
        approve: `each`: those that somebody has approved by their digest, with `braing3n site
            approve`. `auto`: all within the limits below.
        presets: Sizes of networks that it trains; None is all.
        max_rounds: Rounds that a plan may have, over all stages.
        max_local_steps: Optimiser steps that a round may have.
        max_local_epochs: Passes over the site's scans that a round may have, where a plan counts these.
        max_batch_size: Volumes in a step; what they take of memory grows with it.
        app_version: Versions of the app that a server may name, as PEP 440 writes them; None is the
            installed one alone.
    """

    approve: Literal["each", "auto"] = "auto"
    presets: tuple[PresetName, ...] | None = None
    max_rounds: Annotated[int, Field(ge=1)] = 10_000
    max_local_steps: Annotated[int, Field(ge=1)] = 100_000
    max_local_epochs: Annotated[int, Field(ge=1)] = 1000
    max_batch_size: Annotated[int, Field(ge=1)] = 256
    app_version: Annotated[str, AfterValidator(_specifier)] | None = None


class EgressConfig(StrictModel):
    """What a reply may hold at most, whoever asks for it.

    Attributes:
        max_mb: Size of a reply, in 10⁶ bytes.
        max_norm: L2 norm of an update; None is without limit.
        tensors: By stage, the names of tensors that may leave, as shell patterns; all in stages that
            are not named, and none for an empty list.
        hold: Whether each reply waits until a person lets it out: `braing3n site outbox`.
    """

    max_mb: Annotated[float, Field(gt=0)] = 2000.0
    max_norm: Annotated[float, Field(gt=0)] | None = None
    tensors: dict[StageName, tuple[str, ...]] = Field(default_factory=dict)
    hold: bool = False


Release = Literal["counts", "losses", "metrics", "moments"]
How = Literal["exact", "bucketed", "noised", "withheld"]
_WITH_DP: Mapping[Release, How] = {
    "counts": "withheld", "losses": "noised", "metrics": "withheld", "moments": "noised"}


class ReleaseConfig(StrictModel):
    """What else may leave beside updates, and how.

    None is `exact` without a budget; with one, `withheld` for counts and metrics, `noised` for losses
    and moments.

    Attributes:
        counts: Numbers of scans, as weights and of those left out: `exact`, `bucketed` (to tens),
            `noised` (charged) or `withheld` (weights are then the plan's).
        losses: The training loss: `exact`, `noised` (with the gradient, at no further charge) or
            `withheld`.
        metrics: What is measured on held-out subjects: `exact`, `noised` (charged) or `withheld`.
        moments: The latents' means and mean squares: `exact`, `noised` (charged) or `withheld`.
    """

    counts: How | None = None
    losses: Literal["exact", "noised", "withheld"] | None = None
    metrics: Literal["exact", "noised", "withheld"] | None = None
    moments: Literal["exact", "noised", "withheld"] | None = None

    def how(self, what: Release, *, with_dp: bool) -> How:
        """Return how something leaves from a stage that is trained with DP, or without."""
        given: How | None = getattr(self, what)
        if with_dp:
            return given or _WITH_DP[what]
        # A stage of `without_dp` has no noise to hide a number in.
        return "withheld" if given == "noised" else given or "exact"
