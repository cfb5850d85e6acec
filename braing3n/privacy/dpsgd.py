"""DP-SGD with the patient as unit: the noised sum of what each drawn subject gives.

Abadi et al. 2016, "Deep learning with differential privacy", https://arxiv.org/abs/1607.00133,
algorithm 1, with subjects in place of examples: a step draws every subject with probability q; each
drawn one gives the mean gradient over K views, clipped once to norm C; to the sum is added Gaussian
noise of deviation σ C in every coordinate; and it is divided by q n, the number that is expected.
n is a constant of the plan and never what a site has, nor what was drawn.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from braing3n.budget import EngineName
from braing3n.errors import ConfigError
from braing3n.privacy.clipping import Clipped, ClippedSum, Inputs, Losses, squared_norm
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy_plan import StagePrivacy

_CHUNK = 1 << 18  # coordinates that are noised at once, in float64


class Engine(Protocol):
    """A way to compute clipped sums; all give the same to 10⁻⁵."""

    def add(self, losses: Losses, subjects: list[Inputs], total: ClippedSum) -> None:
        """Add the clipped gradients of `subjects`, each the mean over its rows, to `total`."""
        ...


@dataclass(frozen=True)
class Noised:
    """A step's release.

    Attributes:
        gradient: By name, for every trainable parameter: (sum of clipped gradients + noise) / (q n).
        loss: The same for the loss's coordinate, in units of losses: about the mean loss over the
            drawn subjects, each clipped to the plan's bound. May be negative, by noise.
        clipped: What clipping met. Exact, so it stays in the site's own log.
    """

    gradient: dict[str, Tensor]
    loss: float
    clipped: Clipped


def noised_gradient(
    network: nn.Module,
    losses: Losses,
    subjects: Iterable[Inputs],
    *,
    privacy: StagePrivacy,
    num_subjects: int,
    randomness: SecureRandom,
    engine: EngineName,
    microbatch: int,
) -> Noised:
    """Return the noised gradient of one step.

    What is released, gradient and loss together, is the Gaussian mechanism with noise multiplier σ
    on a sum to which one subject adds a vector of norm at most C. With the draw of the same
    `randomness`, that is one step of `poisson_gaussian` in `braing3n.privacy.events.Event`.

    Args:
        network: What is trained.
        losses: (B,) losses of B rows on `network`; nothing is left to chance in it, and no row
            knows of another.
        subjects: The drawn ones, read one microbatch at a time; none is a step too. Each has K rows
            in every tensor, on the device of the network.
        privacy: σ, C, q and the bound on losses.
        num_subjects: n, the plan's number.
        randomness: Of the noise.
        engine: How the sum is computed.
        microbatch: Subjects that `bookkeeping` and `opacus` hold at once; memory is for so many,
            however many are drawn.

    Raises:
        ConfigError: The network keeps running statistics or mixes rows, which no engine can clip,
            or the engine has no rule for a part of it.
        ValueError: Losses are not one a row.
    """
    total = clipped_sum(network, losses, subjects, privacy=privacy, engine=engine,
                        microbatch=microbatch)
    deviation = privacy.noise_multiplier * privacy.clip_norm
    expected = privacy.sample_rate * num_subjects
    for tensor in total.sums.values():
        _noise(tensor, deviation, expected, randomness)
    loss = total.loss + deviation * float(randomness.gaussians(1)[0])
    return Noised(
        gradient=total.sums, clipped=total.diagnostics(),
        loss=loss / expected / total.loss_unit * privacy.loss_bound,
    )


def clipped_sum(
    network: nn.Module,
    losses: Losses,
    subjects: Iterable[Inputs],
    *,
    privacy: StagePrivacy,
    engine: EngineName,
    microbatch: int,
) -> ClippedSum:
    """Return the sum before noise. It must not leave a site: this is for tests and audits.

    Arguments and errors are those of `noised_gradient`.
    """
    _check_rows_stay_apart(network)
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    total = ClippedSum(parameters, privacy.clip_norm, privacy.loss_bound)
    working = _open_engine(engine, network)
    for together in _microbatches(subjects, 1 if engine == "loop" else microbatch):
        working.add(losses, together, total)
    return total


def squared_length(gradient: Mapping[str, Tensor]) -> float:
    """Return the sum of all squares of a gradient, for `signal_to_noise`."""
    return squared_norm(list(gradient.values()))


def signal_to_noise(
    squared: float, num_coordinates: int, privacy: StagePrivacy, num_subjects: int
) -> float:
    """Estimate how long the true gradient is next to the noise, from released numbers only.

    In d coordinates with noise of deviation s = σ C / (q n) each, the squared length of a noised
    gradient is the true one's plus d s² on average. It costs nothing, as whatever is computed from
    a release is covered by the release's guarantee.

    Args:
        squared: ‖g̃‖² of a noised gradient, or the mean over several steps, which is steadier: for
            one step, what is below (2 / d)^¼ cannot be told from nothing.
        num_coordinates: d.
        privacy: σ, C and q.
        num_subjects: n, the plan's number.

    Returns:
        √(max(0, ‖g̃‖² − d s²) / (d s²)), 0 or more.
    """
    deviation = (privacy.noise_multiplier * privacy.clip_norm
                 / (privacy.sample_rate * num_subjects))
    noise = num_coordinates * deviation**2
    return math.sqrt(max(0.0, squared - noise) / noise)


def _noise(tensor: Tensor, deviation: float, expected: float, randomness: SecureRandom) -> None:
    """Add noise to every number of a sum, and divide by the expected number of subjects; in place."""
    # In memory's order, whatever the layout: a view, so that nothing is copied.
    flat = tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    for start in range(0, len(flat), _CHUNK):
        piece = flat[start : start + _CHUNK]
        noise = torch.from_numpy(randomness.gaussians(piece.numel())).to(piece.device)
        # Both in float64, so that only the result is rounded.
        piece.copy_((piece.double() + deviation * noise) / expected)


def _open_engine(engine: EngineName, network: nn.Module) -> Engine:
    if engine == "loop":
        from braing3n.privacy.engine_loop import LoopEngine  # noqa: PLC0415
        return LoopEngine(network)
    if engine == "bookkeeping":
        from braing3n.privacy.engine_bookkeeping import BookkeepingEngine  # noqa: PLC0415
        return BookkeepingEngine(network)
    if engine == "opacus":
        from braing3n.privacy.engine_opacus import OpacusEngine  # noqa: PLC0415
        return OpacusEngine(network)
    assert_never(engine)


def _microbatches(subjects: Iterable[Inputs], size: int) -> Iterator[list[Inputs]]:
    """Give subjects in order, at most `size` at once, those together with equally many rows."""
    together: list[Inputs] = []
    for inputs in subjects:
        if together and (len(together) == size or len(inputs[0]) != len(together[0][0])):
            yield together
            together = []
        together.append(inputs)
    if together:
        yield together


def _check_rows_stay_apart(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) or getattr(module, "track_running_stats", False):
            raise ConfigError(
                "a network cannot be trained with differential privacy",
                expected="modules that treat each volume by itself and keep nothing of it",
                found=f"{name} ({type(module).__name__})",
                fix="use group or layer norms in place of batch norms",
            )
