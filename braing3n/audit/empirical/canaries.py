"""Canaries: made patients whose presence the auditor looks for in what training releases."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from braing3n.audit.empirical.bounds import Wide
from braing3n.audit.empirical.exact import Inputs, clipped_gradient, flat
from braing3n.data.examples import Example
from braing3n.privacy.clipping import LOSS_SHARE
from braing3n.privacy_plan import StagePrivacy
from braing3n.training import Objective, seed_for

_LOUDNESS = 10.0           # norm of a gradient canary over C: clipping has something to do
_MOST_COORDINATES = 1 << 17  # that input canaries are looked for in
_TO_CHOOSE_BY = 12           # canaries whose gradients choose these


class Canaries(Protocol):
    """What an auditor needs of canaries; numbers are from 0 to m − 1."""

    def draw(self, number: int, views: int) -> Inputs:
        """Return the inputs of a drawn canary: always the same, so that they can be looked for."""
        ...

    def owns(self, inputs: Inputs) -> bool:
        """Tell inputs whose losses `losses` gives from those of the stage."""
        ...

    def losses(self, inputs: Inputs) -> Tensor:
        """Return (B,) losses of inputs that it owns."""
        ...

    def measure(self, total: Tensor) -> tuple[Wide, Wide]:
        """Look for every canary in a released sum.

        Args:
            total: (d,) released gradient times the expected number of subjects.

        Returns:
            (m,) estimates of how often each canary is in it, and (m,) their standard deviations under
            the claimed noise.
        """
        ...


class GradientCanaries:
    """Patients whose gradient is a known direction: loss Σ parameter · direction.

    Each has coordinates of its own, next to each other, and a random sign in each; together they cover
    every parameter. A tuple of one tensor of whole numbers stands for the rows of one, which only an
    engine that asks nothing of the network can take: the loop.

    Args:
        network: What is trained.
        count: m.
        privacy: C and σ.
        seed: Of the signs.
    """

    def __init__(self, network: nn.Module, count: int, privacy: StagePrivacy, seed: int) -> None:
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        sizes = [p.numel() for p in self._parameters]
        self._width = sum(sizes) // count
        self._ends = np.cumsum(sizes)
        self._count, self._privacy = count, privacy
        generator = torch.Generator().manual_seed(seed_for(seed, "signs"))
        signs = torch.rand(count, self._width, generator=generator) < 0.5
        self._directions = torch.where(signs, -1.0, 1.0) / math.sqrt(self._width)  # (m, w), unit

    def draw(self, number: int, views: int) -> Inputs:
        """Return (K,) numbers."""
        return (torch.full((views,), number),)

    def owns(self, inputs: Inputs) -> bool:
        """No stage has a single tensor of whole numbers."""
        return len(inputs) == 1 and inputs[0].dtype == torch.int64

    def losses(self, inputs: Inputs) -> Tensor:
        """Return (K,) equal losses whose gradient has a norm of 10 C."""
        number = int(inputs[0][0])
        loudness = _LOUDNESS * self._privacy.clip_norm
        value = inputs[0].new_zeros((), dtype=torch.float32)
        for place, piece, direction in self._pieces(number):
            value = value + (self._parameters[place].reshape(-1)[piece] * direction).sum() * loudness
        # The most that the loss's coordinate may hold, whatever the weights are.
        return (value - value.detach() + self._privacy.loss_bound).expand(len(inputs[0]))

    def measure(self, total: Tensor) -> tuple[Wide, Wide]:
        """Project on each direction."""
        own = total[: self._count * self._width].view(self._count, self._width)
        bound = self._privacy.clip_norm / math.sqrt(1 + LOSS_SHARE**2)
        found = (own * self._directions).sum(dim=1) / bound                # (m,)
        deviation = self._privacy.noise_multiplier * self._privacy.clip_norm / bound
        return found.double().numpy(), np.full(self._count, deviation)

    def _pieces(self, number: int) -> list[tuple[int, slice, Tensor]]:
        """Return which parameters a canary is in, where, and the direction there."""
        low, high = number * self._width, (number + 1) * self._width
        found = []
        for place in range(int(np.searchsorted(self._ends, low, side="right")), len(self._ends)):
            begin = int(self._ends[place]) - self._parameters[place].numel()
            start, stop = max(low, begin), min(high, int(self._ends[place]))
            if start >= stop:
                break
            found.append((place, slice(start - begin, stop - begin),
                          self._directions[number, start - low : stop - low]))
        return found


class InputCanaries:
    """Patients with strange volumes and fixed masks, whose gradients the auditor computes.

    It takes each patient's clipped gradient once, at the weights at which it first looks for them, in
    the coordinates that canaries move most. What a step releases is then split into these by least
    squares, so that canaries that share a direction, and ordinary patients, are told apart.

    Args:
        objective: The stage's.
        canaries: One volume each.
        others: An example of each ordinary patient, whose directions are told apart as well.
        privacy: C, σ and K.
        seed: Of the masks.
    """

    def __init__(self, objective: Objective, canaries: Sequence[Example], others: Sequence[Example],
                 privacy: StagePrivacy, seed: int) -> None:
        self._objective, self._privacy, self._count = objective, privacy, len(canaries)
        self._drawn = [objective.draw([example] * privacy.views, torch.Generator().manual_seed(
            seed_for(seed, "masks", example.key))) for example in (*canaries, *others)]
        self._aimed: _Aimed | None = None

    def draw(self, number: int, views: int) -> Inputs:
        """Return what was drawn for it at the beginning, K rows."""
        del views  # as many as the plan says
        return self._drawn[number]

    def owns(self, inputs: Inputs) -> bool:
        """Own nothing: they run through the stage's own loss."""
        del inputs
        return False

    def losses(self, inputs: Inputs) -> Tensor:
        """Return the stage's losses."""
        return self._objective.losses(inputs)

    def measure(self, total: Tensor) -> tuple[Wide, Wide]:
        """Split by least squares."""
        if self._aimed is None:
            self._aimed = self._aim()
        aimed = self._aimed
        found = aimed.inverse @ (aimed.rows @ total[aimed.coordinates]).double()  # (m,)
        return found.numpy(), aimed.spread

    def _aim(self) -> "_Aimed":
        some = self._drawn[: self._count : max(1, self._count // _TO_CHOOSE_BY)]
        squares = torch.stack([self._gradient(inputs).square() for inputs in some]).sum(dim=0)  # (d,)
        coordinates = squares.topk(min(len(squares), _MOST_COORDINATES)).indices.sort().values
        rows = torch.stack([self._gradient(inputs)[coordinates] for inputs in self._drawn])
        if not rows.any():  # weights are not finite: nothing can be looked for, and no score is finite
            nothing = torch.full((self._count, len(rows)), math.nan, dtype=torch.float64)
            return _Aimed(coordinates, rows, nothing, np.full(self._count, math.nan))
        gram = (rows @ rows.T).double()                                    # (S, S)
        # Patients whose gradients cannot be told apart get a large deviation, not a wrong one.
        ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        inverse = torch.linalg.inv(gram + ridge)[: self._count]            # (m, S)
        spread = (inverse @ gram @ inverse.T).diagonal().sqrt()            # (m,)
        deviation = self._privacy.noise_multiplier * self._privacy.clip_norm
        return _Aimed(coordinates, rows, inverse, spread.numpy() * deviation)

    def _gradient(self, inputs: Inputs) -> Tensor:
        clipped = clipped_gradient(self._objective, inputs, self._privacy)
        return flat(self._objective.network, clipped.gradient)


@dataclass(frozen=True)
class _Aimed:
    """Where to look: w coordinates, (S, w) gradients there, (m, S) of the inverse, (m,) deviations."""

    coordinates: Tensor
    rows: Tensor
    inverse: Tensor
    spread: Wide
