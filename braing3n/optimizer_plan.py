"""What a plan says of the two optimisers: the one at a site, and the coordinator's."""

from typing import Annotated, Literal

from pydantic import Field

from braing3n.yaml_files import StrictModel

Positive = Annotated[float, Field(gt=0)]


class OptimizerPlan(StrictModel):
    """AdamW at a site, on a clock that counts rounds over all of the stage.

    Attributes:
        learning_rate: Peak of the schedule.
        weight_decay: Decoupled weight decay.
        clip_norm: The gradient's largest L2 norm.
        warmup_rounds: Rounds of linear warm-up from 0; may be a fraction. A cosine follows.
        proximal_mu: FedProx: weight of the pull back to the round's global weights; 0 is off.
    """

    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    clip_norm: Positive = 1.0
    warmup_rounds: Annotated[float, Field(ge=0)] = 0.5
    proximal_mu: Annotated[float, Field(ge=0)] = 0.0


class MergePlan(StrictModel):
    """How the updates of a round become one; see `server.robust` for sources.

    Attributes:
        method: `mean`, weighted; `trimmed_mean`, of each number without its extremes, and `krum`, the
            mean of the updates that are nearest to others: these two bear some wrong sites.
        trim: How many are left out of the trimmed mean at each end.
        faulty: How many wrong sites Krum is to bear.
        clip_norm_ratio: Updates longer than this many times the round's median are shortened to it.
        reject_norm_ratio: Updates longer than this many times the median are left out, and named.
    """

    method: Literal["mean", "trimmed_mean", "krum"] = "mean"
    trim: Annotated[int, Field(ge=1)] = 1
    faulty: Annotated[int, Field(ge=1)] = 1
    clip_norm_ratio: Annotated[float, Field(ge=1)] | None = None
    reject_norm_ratio: Annotated[float, Field(gt=1)] | None = None

    @property
    def is_robust(self) -> bool:
        """Whether all updates have to be there before one can be judged."""
        return (self.method != "mean" or self.clip_norm_ratio is not None
                or self.reject_norm_ratio is not None)


class ServerOptimizerPlan(StrictModel):
    """How the coordinator turns the mean update of a round into new global weights.

    Attributes:
        name: `fedavg` adds it; `fedavgm` adds it with Nesterov momentum; `fedadam` by Adam.
        learning_rate: Step size; for fedavg, 1 is plain averaging. Left out, it is 1, and 0.01 for
            fedadam, which moves every weight by about the step size whatever the update.
        momentum: fedavgm's momentum and fedadam's first decay.
        second_decay: fedadam's second decay.
        tau: fedadam's smallest denominator.
    """

    name: Literal["fedavg", "fedavgm", "fedadam"] = "fedavg"
    learning_rate: Positive | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    second_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    tau: Positive = 1e-3

    @property
    def step_size(self) -> float:
        """The learning rate that is given, or the optimiser's own."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.01 if self.name == "fedadam" else 1.0
