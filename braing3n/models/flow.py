"""Rectified flow: straight paths from data to noise, learnt as velocities.

Liu et al. 2023, https://arxiv.org/abs/2209.03003, with the times of Esser et al. 2024,
https://arxiv.org/abs/2403.03206: time 0 is data, 1 is noise, x_t = (1 − t) · data + t · noise,
and the velocity is noise − data.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from braing3n.models.dit import check_conditions

# (latent (B, C, gx, gy, gz), time (B,), conditions (B, 6), hidden (B, 6)) -> velocity like latent
Velocity = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

_REFERENCE_DIM = 4096  # as RAE, https://arxiv.org/abs/2510.11690


def shift_time(time: Tensor, dim: int) -> Tensor:
    """Move times towards noise for latents with many numbers.

    The more numbers show the same content, the more noise it takes to hide it:
    t' = s t / (1 + (s − 1) t) with s = sqrt(dim / 4096). The formula holds for either sign of
    the shift, so s is not kept above 1; every preset has s > 1 anyway.

    Args:
        time: Times in [0, 1], of any shape.
        dim: Numbers in one latent, C · gx · gy · gz.

    Returns:
        Times in [0, 1], of the same shape; 0 and 1 stay.
    """
    s = math.sqrt(dim / _REFERENCE_DIM)
    return time / (time + (1 - time) / s)  # the same, and in floating point never above 1


def sample_time(normal: Tensor, dim: int) -> Tensor:
    """Return the times to train at: logit-normal, then shifted.

    Args:
        normal: (B,) standard normal numbers.
        dim: Numbers in one latent.

    Returns:
        (B,) in [0, 1].
    """
    return shift_time(normal.sigmoid(), dim)


def noisy(latent: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Return the points at `time` on the straight paths from latents to noise.

    Args:
        latent: (B, C, gx, gy, gz).
        noise: (B, C, gx, gy, gz) standard normal.
        time: (B,) in [0, 1].

    Returns:
        (B, C, gx, gy, gz).
    """
    share = time.view(-1, 1, 1, 1, 1)                                      # (B, 1, 1, 1, 1)
    return (1 - share) * latent + share * noise


def flow_loss(
    model: Velocity, latent: Tensor, noise: Tensor, time: Tensor, conditions: Tensor,
    hidden: Tensor,
) -> Tensor:
    """Return each latent's mean squared error of the predicted velocity.

    Args:
        model: The diffusion transformer.
        latent: (B, C, gx, gy, gz) normalised latents.
        noise: (B, C, gx, gy, gz) standard normal.
        time: (B,) from `sample_time`.
        conditions: (B, 6), NaN where unknown.
        hidden: (B, 6) bool; True drops a variable.

    Returns:
        (B,).
    """
    velocity = model(noisy(latent, noise, time), time, conditions, hidden)
    return (velocity.float() - (noise - latent)).square().flatten(1).mean(dim=1)


@torch.no_grad()
def sample(
    model: Velocity, conditions: Tensor, noise: Tensor, steps: int, guidance: float
) -> Tensor:
    """Follow the velocity from noise to latents by Euler's method.

    Rows do not influence one another: a latent depends on its own noise and conditions alone.

    Args:
        model: The diffusion transformer.
        conditions: (B, 6), NaN where unknown.
        noise: (B, C, gx, gy, gz) standard normal.
        steps: Euler steps, on a shifted grid of times.
        guidance: Classifier-free guidance (Ho and Salimans 2022,
            https://arxiv.org/abs/2207.12598): v = v_none + guidance · (v_given − v_none).
            1 follows the conditions as learnt, at half the cost; 0 ignores them.

    Returns:
        (B, C, gx, gy, gz) normalised latents.

    Raises:
        ValueError: A condition is not one that the model knows, or `steps` is not positive.
    """
    if steps < 1:
        raise ValueError(f"sampling takes at least one step, not {steps}")
    check_conditions(conditions)
    times = shift_time(torch.linspace(1, 0, steps + 1), noise[0].numel()).tolist()
    latent = noise
    for now, after in pairwise(times):
        velocity = _guided(model, latent, now, conditions, guidance)       # (B, C, gx, gy, gz)
        latent = latent + (after - now) * velocity                         # (B, C, gx, gy, gz)
    return latent


def _guided(
    model: Velocity, latent: Tensor, now: float, conditions: Tensor, guidance: float
) -> Tensor:
    """Return the guided velocity (B, C, gx, gy, gz) at one time; both passes in one batch."""
    shown = torch.zeros_like(conditions, dtype=torch.bool)                 # (B, 6)
    time = latent.new_full((len(latent),), now)                            # (B,)
    if guidance == 1:
        return model(latent, time, conditions, shown)
    both = model(latent.repeat(2, 1, 1, 1, 1), time.repeat(2), conditions.repeat(2, 1),
                 torch.cat([shown, ~shown]))                               # (2 B, C, gx, gy, gz)
    given, none = both.chunk(2)
    return none + guidance * (given - none)
