"""What a plan says of differential privacy: public constants, the same for whoever reads the plan."""

from typing import Annotated, Literal

from pydantic import Field

from braing3n.yaml_files import StrictModel

# Beyond these, floating point or the accountants give up, and nobody needs them.
MIN_DELTA = 1e-10
MAX_NOISE = 1e4

Positive = Annotated[float, Field(gt=0)]
NoiseMultiplier = Annotated[float, Field(gt=0, le=MAX_NOISE)]
Delta = Annotated[float, Field(ge=MIN_DELTA, lt=0.01)]


class StagePrivacy(StrictModel):
    """How a stage is trained at sites with a budget: DP-SGD over subjects.

    Every number is chosen before anybody looks at data. None may be derived from a site's own.

    Attributes:
        unit: What one of is protected. Sites know one answer, `subject`, and refuse any other.
        noise_multiplier: σ: deviation of the noise in every coordinate over `clip_norm`.
        sample_rate: Probability q that a subject is drawn in a step.
        clip_norm: C: what one subject can change of a step's sum, as L2 norm.
        views: K: volumes × masks (or noise levels) of a drawn subject whose gradients are averaged.
        loss_bound: Losses are clipped to it where they are released with the gradient.
        release_noise_multiplier: σ of what is released once: latent moments, and if a site allows
            them counts and held-out metrics.
        moments_bound: A subject's root mean square of latents is clipped to it, its channel means to
            a quarter of it: in deviations that the projection gives tokens without any pattern.
    """

    unit: Literal["subject", "volume"] = "subject"
    noise_multiplier: NoiseMultiplier
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    clip_norm: Positive
    views: Annotated[int, Field(ge=1, le=64)] = 4
    loss_bound: Positive = 2.0
    release_noise_multiplier: NoiseMultiplier = 4.0
    moments_bound: Positive = 2.0


class PlanBudget(StrictModel):
    """The most that a plan is to cost a site; a site's own budget counts beside it.

    Attributes:
        epsilon: The most that a run of the plan may cost one site, all stages together.
        delta: At which that is stated.
        num_subjects: The number of subjects that a site is taken to have, for the weight of its
            updates and the denominator of its gradients, whatever it really has.
        cohort: What the sites call the patients that it is for; None leaves that to each of them.
        site_subjects: The same for single sites, by their agreed names.
    """

    epsilon: Positive
    delta: Delta = 1e-5
    num_subjects: Annotated[int, Field(ge=1, le=10**6)] = 100
    cohort: str | None = None
    site_subjects: dict[str, Annotated[int, Field(ge=1, le=10**6)]] = Field(default_factory=dict)

    def __hash__(self) -> int:
        """Hash it, which pydantic cannot for a mapping: plans are keys of caches."""
        return hash(self.model_dump_json())

    def subjects_at(self, site: str) -> int:
        """Return the number of subjects that a site is taken to have."""
        return self.site_subjects.get(site, self.num_subjects)
