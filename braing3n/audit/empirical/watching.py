"""What the auditor sees of every step: the patients that are drawn, and what reaches the optimiser."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from braing3n.audit.empirical.bounds import Wide
from braing3n.audit.empirical.canaries import Canaries
from braing3n.audit.empirical.exact import Inputs, exact_sum, flat, trained
from braing3n.data.examples import Example
from braing3n.errors import RunFailedError
from braing3n.privacy.clipping import LOSS_SHARE
from braing3n.privacy_plan import StagePrivacy
from braing3n.training import Objective

SKETCH = 1 << 14  # coordinates of the noise that are kept of every step


@dataclass(frozen=True)
class Step:
    """What was seen of one step. Noise is what was released minus the exact sum, in units of σ C.

    Attributes:
        round_index: The round that it belongs to.
        drawn: Who was drawn, by pseudonym.
        norms: Norms of their gradients before clipping, over what they are clipped to.
        num_coordinates: d.
        mean_square: Mean square of the noise over all d coordinates; 1 is what is claimed.
        by_parameter: By name: the noise's sum of squares, and the number of coordinates.
        sketch: Noise at places spread over all parameters.
        signal: Released sum · exact sum, over σ C.
        signal_square: Squared norm of the exact sum, over σ C squared.
        loss_noise: Of the loss's coordinate; NaN until the loss is told.
        found: (m,) estimates of how often each canary is in the sum.
        spread: (m,) what these deviate by under the claimed noise.
    """

    round_index: int
    drawn: tuple[str, ...]
    norms: tuple[float, ...]
    num_coordinates: int
    mean_square: float
    by_parameter: dict[str, tuple[float, int]]
    sketch: Wide
    signal: float
    signal_square: float
    loss_noise: float
    found: Wide
    spread: Wide


class Watched:
    """A stage's objective with canaries among its patients, and a record of who is drawn.

    Args:
        objective: The stage's.
        canaries: By pseudonym, each one's number.
        source: Their inputs and losses.
    """

    def __init__(self, objective: Objective, canaries: dict[str, int], source: Canaries) -> None:
        self.network, self.device = objective.network, objective.device
        self.drawn: list[tuple[str, Inputs]] = []
        self._objective, self._canaries, self._source = objective, canaries, source

    def draw(self, batch: Sequence[Example], generator: torch.Generator) -> Inputs:
        """Return the inputs of one drawn patient; several at once are told as one with a long name."""
        subject = "+".join(sorted({example.subject for example in batch}))
        number = self._canaries.get(subject)
        inputs = (self._objective.draw(batch, generator) if number is None
                  else self._source.draw(number, len(batch)))
        self.drawn.append((subject, inputs))
        return inputs

    def losses(self, inputs: Inputs) -> Tensor:
        """Return (B,) losses."""
        if self._source.owns(inputs):
            return self._source.losses(inputs)
        return self._objective.losses(inputs)


class Watcher:
    """Turns what reaches the optimiser in a round into steps.

    Args:
        objective: What is trained.
        source: How canaries are looked for.
        privacy: The claim.
        num_subjects: The public number of subjects.
        round_index: The round.
    """

    def __init__(self, objective: Watched, source: Canaries, privacy: StagePrivacy, num_subjects: int,
                 round_index: int) -> None:
        self.steps: list[Step] = []
        self._objective, self._source, self._privacy = objective, source, privacy
        self._expected = privacy.sample_rate * num_subjects
        self._round_index = round_index
        self._deviation = privacy.noise_multiplier * privacy.clip_norm
        self._loss = 0.0  # the exact one of the step that is under way

    def on_gradient(self, gradient: dict[str, Tensor]) -> None:
        """Take a step's gradient, as the optimiser is about to use it."""
        subjects = [subject for subject, _ in self._objective.drawn]
        exact, self._loss, norms = exact_sum(
            self._objective, [inputs for _, inputs in self._objective.drawn], self._privacy)
        self._objective.drawn.clear()
        network = self._objective.network
        released = flat(network, gradient) * self._expected                # (d,)
        noise = (released - exact) / self._deviation                       # (d,)
        found, spread = self._source.measure(released)
        stride = max(1, len(noise) // SKETCH)
        self.steps.append(Step(
            self._round_index, tuple(subjects), norms, len(noise),
            float(noise.double().square().mean()), _by_parameter(network, noise),
            noise[::stride].double().numpy(), float(released @ exact) / self._deviation**2,
            float(exact @ exact) / self._deviation**2, float("nan"), found, spread))

    def on_loss(self, loss: float) -> None:
        """Take a step's released loss, told after the optimiser's step.

        Raises:
            RunFailedError: No gradient was heard: what trains here, the auditor cannot see.
        """
        if not self.steps:
            raise RunFailedError(
                "the audit saw no gradient", expected="one in every step of an optimiser of torch",
                found="a step without", fix="audit the code that trains")
        unit = LOSS_SHARE * self._privacy.clip_norm / (1 + LOSS_SHARE**2)**0.5
        released = loss * self._expected * unit / self._privacy.loss_bound
        noise = (released - self._loss) / self._deviation
        self.steps[-1] = replace(self.steps[-1], loss_noise=noise)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear every step of an optimiser of this network, whatever code takes it."""
        own = {id(p): name for name, p in trained(self._objective.network).items()}

        def hear(optimizer: Optimizer, *_: Any) -> None:
            gradient = {own[id(p)]: p.grad for group in optimizer.param_groups for p in group["params"]
                        if id(p) in own and p.grad is not None}
            if gradient:
                self.on_gradient(gradient)

        handle = register_optimizer_step_pre_hook(hear)
        try:
            yield
        finally:
            handle.remove()


def log_likelihood_ratios(steps: Sequence[Step], sample_rate: float) -> Wide:
    """Return (m,) log-likelihood ratios of each canary having been in the data over not, scaled.

    A step draws a canary that is in with probability q: log(1 − q + q exp((x − ½) / s²)) for an
    estimate x that is N(1, s²) where it was drawn and N(0, s²) where it was not. By the lemma of Neyman
    and Pearson nothing tells them apart better if the claim is true; if not, it is one more score.
    It is divided by about its standard deviation under the claim.
    """
    total, square = np.zeros(len(steps[0].found)), 0.0
    with np.errstate(divide="ignore"):  # log 0 where everybody is drawn
        not_drawn, drawn = np.log(1 - sample_rate), np.log(sample_rate)
    for step in steps:
        with np.errstate(invalid="ignore"):  # what is NaN stays so, for bounds to see
            total += np.logaddexp(not_drawn, drawn + (step.found - 0.5) / step.spread**2)
        # χ² of the two, which is about the variance of the ratio.
        square += sample_rate**2 * math.expm1(min(700.0, float(np.median(step.spread))**-2))
    scaled: Wide = total / math.sqrt(square)
    return scaled


def _by_parameter(network: nn.Module, noise: Tensor) -> dict[str, tuple[float, int]]:
    named = trained(network)
    pieces = torch.split(noise, [p.numel() for p in named.values()])
    return {name: (float(piece.double().square().sum()), piece.numel())
            for name, piece in zip(named, pieces, strict=True)}
