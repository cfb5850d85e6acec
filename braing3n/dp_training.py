"""One round of one stage at one site with DP-SGD over subjects; `braing3n.training` without."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from braing3n.budget import EngineName
from braing3n.data.examples import Example, by_subject
from braing3n.plan import StagePlan
from braing3n.privacy.dpsgd import Noised, noised_gradient, signal_to_noise, squared_length
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy_plan import StagePrivacy
from braing3n.training import (
    MAX_LOSSES,
    Objective,
    Trained,
    learning_rate,
    load_moments,
    make_optimizer,
    pull_back,
    save_moments,
    thin,
)
from braing3n.weights import State


@dataclass(frozen=True)
class Mechanism:
    """What every step of a round is noised by, beside the plan's own numbers.

    Attributes:
        privacy: The plan's.
        num_subjects: The public number of subjects that the site is taken to have.
        engine: How clipped sums are computed.
        microbatch: Subjects at once, for engines that take several.
        randomness: Source of draws, masks and noise.
    """

    privacy: StagePrivacy
    num_subjects: int
    engine: EngineName = "loop"
    microbatch: int = 8
    randomness: SecureRandom = field(default_factory=SecureRandom)


@dataclass(frozen=True)
class TrainedWithDP(Trained):
    """What a round leaves behind. All of it but `in_house` comes from noised sums alone.

    Attributes:
        signal_to_noise: Of the released gradients, over the round.
        in_house: What the site may look at and must not send: subjects drawn in each step, the
            share of them that was clipped, how many gave nothing as they were not finite.
    """

    signal_to_noise: float
    in_house: dict[str, float]


def train_round_with_dp(
    objective: Objective,
    plan: StagePlan,
    start: State,
    mechanism: Mechanism,
    *,
    examples: Sequence[Example],
    round_index: int,
    moments: Path,
    on_step: Callable[[int, int, float], None] | None = None,
) -> TrainedWithDP:
    """Train from the global weights for one round, each step on a noised sum over subjects.

    The optimiser, its moments and FedProx see the noised gradient and the weights alone, so that
    they cost nothing. The plan's `clip_norm` for gradients without DP is not used.

    Args:
        objective: The stage's network and loss.
        plan: The stage's plan, with `local_steps`.
        start: Global weights.
        mechanism: How steps are noised.
        examples: The site's training examples.
        round_index: From 0.
        moments: Folder where AdamW's moments of this stage persist between rounds.
        on_step: Called with (steps done, steps in all, noised loss).
    """
    network = objective.network
    network.load_state_dict(start)
    network.train()
    optimizer = make_optimizer(network, plan.optimizer)
    load_moments(optimizer, network, moments, round_index)
    subjects, steps = by_subject(examples), plan.steps(0)
    account = _Account(mechanism)
    for step in range(steps):
        noised = noised_gradient(
            network, objective.losses, drawn_views(objective, subjects, mechanism),
            privacy=mechanism.privacy, num_subjects=mechanism.num_subjects,
            randomness=mechanism.randomness, engine=mechanism.engine,
            microbatch=mechanism.microbatch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan.optimizer, plan.rounds, round_index + (step + 0.5) / steps)
        _step(network, optimizer, noised.gradient, start, plan.optimizer.proximal_mu)
        account.add(noised)
        if on_step:
            on_step(step + 1, steps, noised.loss)
    save_moments(optimizer, network, moments, round_index)
    local = network.state_dict()
    return TrainedWithDP(
        update={name: local[name].cpu() - start[name].cpu() for name in local},
        train_loss=sum(account.losses) / steps, losses=thin(account.losses, MAX_LOSSES),
        signal_to_noise=account.signal_to_noise(), in_house=account.in_house())


def drawn_views(
    objective: Objective, subjects: Sequence[Sequence[Example]], mechanism: Mechanism
) -> Iterator[tuple[Tensor, ...]]:
    """Draw subjects, each on its own, and give the inputs of each one's K views.

    A subject's views and masks come from a generator of its own, seeded by the secure stream: with
    one generator for all, a subject more or less would change what the others give.
    """
    views = mechanism.privacy.views
    drawn = mechanism.randomness.poisson_draw(len(subjects), mechanism.privacy.sample_rate)
    for index in drawn:
        generator = torch.Generator().manual_seed(mechanism.randomness.seed63())
        own = subjects[index]
        order: list[int] = []
        while len(order) < views:  # each of its volumes once before any comes again
            order += torch.randperm(len(own), generator=generator).tolist()
        yield objective.draw([own[place] for place in order[:views]], generator)


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, gradient: State, start: State,
          proximal_mu: float) -> None:
    for name, parameter in network.named_parameters():
        parameter.grad = gradient.get(name)
    if proximal_mu:
        pull_back(network, start, proximal_mu)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class _Account:
    """What is kept of the steps of a round."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism
        self.losses: list[float] = []
        self._squared = 0.0
        self._num_coordinates = 0
        self._drawn = self._clipped = self._zeroed = 0

    def add(self, noised: Noised) -> None:
        """Take a step into the account."""
        self.losses.append(noised.loss)
        self._squared += squared_length(noised.gradient)
        self._num_coordinates = sum(part.numel() for part in noised.gradient.values())
        self._drawn += noised.clipped.num_drawn
        self._clipped += noised.clipped.num_clipped
        self._zeroed += noised.clipped.num_zeroed

    def signal_to_noise(self) -> float:
        """Return it over all steps, from what was noised alone."""
        return signal_to_noise(self._squared / len(self.losses), self._num_coordinates,
                               self._mechanism.privacy, self._mechanism.num_subjects)

    def in_house(self) -> dict[str, float]:
        """Return what is for the site's own log."""
        return {"subjects_drawn_a_step": self._drawn / len(self.losses),
                "clipped_share": self._clipped / max(self._drawn, 1), "not_finite": self._zeroed}
