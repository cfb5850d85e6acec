"""The three stages as data: what each builds on, trains, freezes and hands to the next."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from braing3n.models.latents import LatentStatistics
from braing3n.networks import build_network
from braing3n.plan import Part, Plan, StageName
from braing3n.weights import State


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: The stage.
        needs: Frozen parts that a site must have before it can train.
        freezes: The part that the stage's result becomes.
        result: From trained weights to the frozen part.
        is_averaged: Whether the result is the moving average of the weights over rounds.
        gathers_statistics: Whether latent statistics are gathered from all sites afterwards.
    """

    name: StageName
    needs: tuple[Part, ...]
    freezes: Part
    result: Callable[[State], State]
    is_averaged: bool = False
    gathers_statistics: bool = False

    @property
    def frozen_parts(self) -> tuple[Part, ...]:
        """All that is frozen once the stage is over."""
        return (self.freezes, "statistics") if self.gathers_statistics else (self.freezes,)


def stages_of(plan: Plan) -> tuple[Stage, ...]:
    """Return the stages of a plan's run, in their order."""
    return tuple(stage for stage in STAGES if stage.name in plan.stage_names)


def encoder_of(autoencoder: State) -> State:
    """Return the encoder's weights out of a masked autoencoder's; its decoder is left behind."""
    mark = "encoder."
    return {name.removeprefix(mark): tensor for name, tensor in autoencoder.items()
            if name.startswith(mark)}


def whole(weights: State) -> State:
    """Return all of `weights`."""
    return weights


STAGES = (
    Stage("pretrain", needs=(), freezes="encoder", result=encoder_of),
    Stage("decoder", needs=("encoder",), freezes="decoder", result=whole, gathers_statistics=True),
    Stage("diffusion", needs=("encoder", "decoder", "statistics"), freezes="dit", result=whole,
          is_averaged=True),
)


def initial_weights(plan: Plan, stage: StageName) -> dict[str, Tensor]:
    """Return a stage's first global weights, which depend on nothing but the plan."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return dict(build_network(plan, stage).state_dict())


def statistics_from(moments: State) -> dict[str, Tensor]:
    """Return the latent statistics as a frozen part, from the moments over all sites."""
    statistics = LatentStatistics.from_moments(moments["mean"], moments["mean_square"])
    return {"mean": statistics.mean, "variance": statistics.variance}
