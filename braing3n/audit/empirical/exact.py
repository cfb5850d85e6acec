"""What a step's sum must be before noise, computed without any of the code that is audited."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from braing3n.privacy.clipping import LOSS_SHARE
from braing3n.privacy_plan import StagePrivacy
from braing3n.training import Objective

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Contribution:
    """What one patient adds to a sum.

    Attributes:
        gradient: By name; a parameter that the loss does not depend on is left out.
        loss: The loss's coordinate.
        norm: The gradient's L2 norm before it is clipped, over what it is clipped to.
    """

    gradient: dict[str, Tensor]
    loss: float
    norm: float


def clipped_gradient(objective: Objective, inputs: Inputs, privacy: StagePrivacy) -> Contribution:
    """Return a patient's mean gradient over the K views, clipped; see `ClippedSum` for the rule.

    One that is not finite gives nothing.
    """
    scale = privacy.clip_norm / math.sqrt(1 + LOSS_SHARE**2)
    named = trained(objective.network)
    with torch.enable_grad():
        loss = objective.losses(inputs).mean()
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    gradient = {name: part for name, part in zip(named, found, strict=True) if part is not None}
    norm = math.sqrt(sum(float(part.double().square().sum()) for part in gradient.values()))
    if not (math.isfinite(norm) and math.isfinite(loss.item())):
        return Contribution({}, 0.0, math.nan)
    factor = min(1.0, scale / norm) if norm else 1.0
    share = min(max(loss.item() / privacy.loss_bound, 0.0), 1.0)
    return Contribution({name: factor * part for name, part in gradient.items()},
                        LOSS_SHARE * scale * share, norm / scale)


def exact_sum(
    objective: Objective, subjects: Iterable[Inputs], privacy: StagePrivacy
) -> tuple[Tensor, float, tuple[float, ...]]:
    """Return the (d,) sum of clipped gradients, the loss's coordinate, and norms before clipping."""
    named = trained(objective.network)
    sums = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
    loss, norms = 0.0, []
    for inputs in subjects:
        one = clipped_gradient(objective, inputs, privacy)
        loss += one.loss
        norms.append(one.norm)
        for name, part in one.gradient.items():
            sums[name] += part
    return flat(objective.network, sums), loss, tuple(norms)


def flat(network: nn.Module, gradient: Mapping[str, Tensor]) -> Tensor:
    """Return (d,) numbers, the parameters one after the other; those that are left out are 0."""
    return torch.cat([(gradient[name] if name in gradient else torch.zeros_like(p)).detach().reshape(-1)
                      for name, p in trained(network).items()])


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name, in the order of `flat`."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}
