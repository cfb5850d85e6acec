"""One round of one stage at one site: batches, AdamW on a global clock, and a report."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from braing3n.data.examples import Example
from braing3n.errors import DivergedError
from braing3n.optimizer_plan import OptimizerPlan
from braing3n.plan import StagePlan
from braing3n.weights import State, load_weights, save_weights

MAX_LOSSES = 64


class Objective(Protocol):
    """What a stage's objective must have to be trained; see `braing3n.objectives`."""

    device: torch.device

    @property
    def network(self) -> nn.Module:
        """The network that the stage trains."""
        ...

    def draw(self, batch: Sequence[Example], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return what the losses of a batch are computed from; masks and noise of `generator`."""
        ...

    def losses(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return (B,) losses, one an example; nothing is left to chance, none knows of another."""
        ...


@dataclass(frozen=True)
class Trained:
    """What a round of local training leaves behind.

    Attributes:
        update: Local weights minus the global weights that the round started from.
        train_loss: Mean loss of the local steps.
        losses: The loss along the round, thinned to at most `MAX_LOSSES` means.
    """

    update: dict[str, Tensor]
    train_loss: float
    losses: tuple[float, ...]


def seed_for(*parts: str | int) -> int:
    """Return a seed that depends on every part, and on nothing else (63 bits of sha256)."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def learning_rate(plan: OptimizerPlan, rounds: int, clock: float) -> float:
    """Return the learning rate at `clock`, in rounds from the start of the stage.

    Linear warm-up, then a cosine to zero. Every site reads the same clock whatever its number of
    local steps, so that a small site does not decay before a large one.

    Args:
        plan: Peak and length of the warm-up.
        rounds: Rounds of the stage.
        clock: In [0, rounds].
    """
    if clock < plan.warmup_rounds:
        return plan.learning_rate * clock / plan.warmup_rounds
    left = max(rounds - plan.warmup_rounds, 1e-12)
    progress = min((clock - plan.warmup_rounds) / left, 1.0)
    return plan.learning_rate * (1 + cos(pi * progress)) / 2


def batches(
    examples: Sequence[Example], size: int, steps: int, generator: torch.Generator
) -> Iterator[list[Example]]:
    """Give `steps` batches of `size` examples (fewer where there are fewer), epoch after epoch.

    Every example is seen once before any is seen again.
    """
    size = min(size, len(examples))
    order: list[int] = []
    for _ in range(steps):
        if len(order) < size:
            order += torch.randperm(len(examples), generator=generator).tolist()
        yield [examples[index] for index in order[:size]]
        del order[:size]


def train_round(
    objective: Objective,
    plan: StagePlan,
    start: State,
    *,
    examples: Sequence[Example],
    round_index: int,
    seed: int,
    moments: Path,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Trained:
    """Train from the global weights for one round.

    Args:
        objective: The stage's network and loss, on the device to compute on.
        plan: The stage's plan.
        start: Global weights.
        examples: The site's training examples.
        round_index: From 0.
        seed: Of batches, masks and noise.
        moments: Folder where AdamW's moments of this stage persist between rounds.
        on_step: Called with (steps done, steps in all, loss).

    Raises:
        DivergedError: A loss or a gradient is not finite. Nothing is kept of the round then.
    """
    network = objective.network
    network.load_state_dict(start)
    network.train()
    optimizer = make_optimizer(network, plan.optimizer)
    load_moments(optimizer, network, moments, round_index)
    generator = torch.Generator().manual_seed(seed)
    steps = plan.steps(len(examples))
    losses: list[float] = []
    for step, batch in enumerate(batches(examples, plan.batch_size, steps, generator)):
        rate = learning_rate(plan.optimizer, plan.rounds, round_index + (step + 0.5) / steps)
        losses.append(_step(objective, optimizer, plan.optimizer, start, batch, generator, rate))
        if on_step:
            on_step(step + 1, steps, losses[-1])
    save_moments(optimizer, network, moments, round_index)
    local = network.state_dict()
    return Trained(
        update={name: local[name].cpu() - start[name].cpu() for name in local},
        train_loss=sum(losses) / len(losses),
        losses=thin(losses, MAX_LOSSES),
    )


def _step(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    plan: OptimizerPlan,
    start: State,
    batch: list[Example],
    generator: torch.Generator,
    rate: float,
) -> float:
    """Take one optimiser step and return its loss."""
    network = objective.network
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    with autocast(objective.device):
        loss = objective.losses(objective.draw(batch, generator)).mean()
    if not torch.isfinite(loss):
        raise _diverged("loss", loss)
    loss.backward()  # type: ignore[no-untyped-call]
    if plan.proximal_mu:
        pull_back(network, start, plan.proximal_mu)
    norm = nn.utils.clip_grad_norm_(network.parameters(), plan.clip_norm)
    if not torch.isfinite(norm):  # else AdamW's moments, which outlive the round, are lost
        raise _diverged("gradient", norm)
    optimizer.step()
    return loss.item()


def _diverged(what: str, found: Tensor) -> DivergedError:
    return DivergedError("training diverged", expected=f"a finite {what}", found=str(found.item()),
                         fix="lower the learning rate of this stage in the plan")


def pull_back(network: nn.Module, start: State, mu: float) -> None:
    """Add FedProx's proximal gradient μ(w − w₀).

    Source: Li et al. 2020, "Federated optimization in heterogeneous networks",
    https://arxiv.org/abs/1812.06127
    """
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            origin = start[name].to(parameter.device)
            parameter.grad.add_(parameter.detach() - origin, alpha=mu)


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return bf16 autocast where the device computes bf16 faster than float32."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def make_optimizer(network: nn.Module, plan: OptimizerPlan) -> torch.optim.AdamW:
    """Return AdamW; vectors (biases, norms, tokens) do not decay, as is usual for transformers."""
    matrices = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": plan.weight_decay},
         {"params": vectors, "weight_decay": 0.0}],
        lr=plan.learning_rate, betas=(0.9, 0.95), fused=True,
    )


def save_moments(
    optimizer: torch.optim.Optimizer, network: nn.Module, folder: Path, round_index: int
) -> None:
    """Keep AdamW's moments after a round, beside those of the round before.

    Two rounds are kept so that a round that is asked for again starts from what it started from.
    """
    state: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            state[f"{key}/{name}"] = value
    save_weights(folder / f"{round_index:05d}.safetensors", state)
    for old in _kept_moments(folder)[:-2]:
        old.unlink()


def load_moments(
    optimizer: torch.optim.Optimizer, network: nn.Module, folder: Path, round_index: int
) -> None:
    """Give AdamW the moments of the last round before `round_index` that this site took part in."""
    earlier = [path for path in _kept_moments(folder) if int(path.stem) < round_index]
    if not earlier:
        return
    state = load_weights(earlier[-1])
    for name, parameter in network.named_parameters():
        if f"step/{name}" not in state:
            continue  # it had no gradient so far
        optimizer.state[parameter] = {
            key: state[f"{key}/{name}"].to(parameter.device)
            for key in ("step", "exp_avg", "exp_avg_sq")
        }


def _kept_moments(folder: Path) -> list[Path]:
    """Return the files of whole rounds, oldest first; a killed site leaves parts with other names."""
    return sorted(folder.glob("[0-9]*.safetensors"))


def thin(values: Sequence[float], most: int) -> tuple[float, ...]:
    """Return at most `most` means over consecutive, equally long stretches of `values`."""
    count = min(len(values), most)
    edges = [round(index * len(values) / count) for index in range(count + 1)] if count else []
    return tuple(sum(values[low:high]) / (high - low) for low, high in pairwise(edges))
