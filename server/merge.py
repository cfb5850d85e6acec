"""Means of updates that do not depend on who answers first, and steps that use them."""

from dataclasses import dataclass, field
from math import ceil
from typing import assert_never

import numpy as np
import numpy.typing as npt

from braing3n.errors import ProtocolError
from braing3n.optimizer_plan import ServerOptimizerPlan
from braing3n.weights import Vector

Wide = npt.NDArray[np.float64]

# Resolution of the sum: 2^-32 is finer than float32 resolves numbers above 0.004.
FRACTION_BITS = 32
_CHUNK = 1 << 20


class ExactMean:
    """A weighted mean of vectors, exact in its order: merge replies as they arrive.

    Floating-point sums depend on their order, so that sorting replies for equal bits would mean
    holding all of them. Here every number becomes a multiple of 2^-32 in a 64-bit integer, and
    integer sums are associative: any order gives the same bits, in the memory of one reply.

    Args:
        size: Numbers in a vector.
    """

    def __init__(self, size: int) -> None:
        self._sum = np.zeros(size, np.int64)
        self._largest = 0  # what |sum| may have reached; a Python integer cannot overflow
        self.weight = 0

    def add(self, vector: Vector, weight: int) -> None:
        """Add `weight` times `vector`.

        Raises:
            ProtocolError: Wrong length or type, a number that is not finite, a weight below 1,
                or numbers so large that the sum could overflow. Nothing is added then.
        """
        peak = check_mergeable(vector, weight, self._sum.size)
        largest = self._largest + weight * ceil(peak * 2.0**FRACTION_BITS + 1)
        if largest >= 2**63:
            raise _refuse(f"numbers below 2^{63 - FRACTION_BITS} over the weights", f"{peak:.3g}")
        for start in range(0, vector.size, _CHUNK):  # temporaries stay small
            piece = np.rint(vector[start : start + _CHUNK].astype(np.float64) * 2.0**FRACTION_BITS)
            self._sum[start : start + _CHUNK] += piece.astype(np.int64) * weight
        self._largest = largest
        self.weight += weight

    def mean(self) -> Vector:
        """Return the mean of what was added.

        Raises:
            ProtocolError: Nothing was added.
        """
        if self.weight == 0:
            raise _refuse("at least one reply", "none")
        scale = 2.0**-FRACTION_BITS / self.weight
        mean = np.empty(self._sum.shape, np.float32)
        for start in range(0, mean.size, _CHUNK):
            mean[start : start + _CHUNK] = self._sum[start : start + _CHUNK] * scale
        return mean


def check_mergeable(vector: Vector, weight: int, size: int) -> float:
    """Return the largest magnitude in an update, after checking that it can be merged.

    Raises:
        ProtocolError: Wrong length or type, a number that is not finite, or a weight below 1.
    """
    if vector.dtype != np.float32 or vector.shape != (size,):
        raise _refuse(f"{size} float32 numbers", f"{vector.shape} {vector.dtype}")
    if weight < 1:
        raise _refuse("a weight of at least 1", str(weight))
    peak = float(np.abs(vector).max(initial=0.0))
    if not np.isfinite(peak):
        raise _refuse("finite numbers", "NaN or infinity")
    return peak


def _refuse(expected: str, found: str) -> ProtocolError:
    return ProtocolError("an update cannot be merged", expected=expected, found=found,
                         fix="look into that site's log")


@dataclass
class ServerOptimizer:
    """From the mean update of a round to new global weights.

    `fedavg` is McMahan et al. 2017, https://arxiv.org/abs/1602.05629; `fedavgm` Hsu et al. 2019,
    https://arxiv.org/abs/1909.06335, with Nesterov momentum as in DiLoCo (Douillard et al. 2023,
    https://arxiv.org/abs/2311.08105); `fedadam` Reddi et al. 2021, algorithm 2,
    https://arxiv.org/abs/2003.00295, whose second moment starts at τ².

    Attributes:
        plan: Which, and its settings.
        slots: Its moments by name, as long as the weights; empty before the first step.
    """

    plan: ServerOptimizerPlan
    slots: dict[str, Vector] = field(default_factory=dict)

    def step(self, weights: Vector, update: Vector) -> Vector:
        """Return the new weights; `update` points downhill, the opposite of a gradient."""
        plan = self.plan
        if plan.name == "fedavg":
            return _added(weights, plan.step_size, update)
        first = self.slots.get("first", np.zeros_like(weights))
        if plan.name == "fedavgm":
            first = _added(update, plan.momentum, first)
            self.slots = {"first": first}
            return _added(weights, plan.step_size, _added(update, plan.momentum, first))
        if plan.name == "fedadam":
            second = self.slots.get("second", np.full_like(weights, plan.tau**2))
            first = _blend(first, update, plan.momentum)
            second = _blend(second, update * update, plan.second_decay)
            self.slots = {"first": first, "second": second}
            return _added(weights, plan.step_size, _ratio(first, second, plan.tau))
        assert_never(plan.name)


@dataclass
class AveragedWeights:
    """An exponential moving average over rounds, corrected for its start as in Adam.

    One step here stands for a round of local steps, so the decay of one step is raised to their
    number. Averaging at the coordinator costs no traffic and no state at the sites.

    Attributes:
        decay: Per round, in [0, 1).
        slot: The uncorrected average.
        rounds: How many rounds are in it.
    """

    decay: float
    slot: Vector | None = None
    rounds: int = 0

    def add(self, weights: Vector) -> None:
        """Take the weights after one more round into the average."""
        slot = np.zeros_like(weights) if self.slot is None else self.slot
        self.slot = _blend(slot, weights, self.decay)
        self.rounds += 1

    def mean(self) -> Vector:
        """Return the average over the rounds so far.

        Raises:
            ProtocolError: No round is in it.
        """
        if self.slot is None:
            raise _refuse("at least one round", "none")
        return self.slot / np.float32(1 - self.decay**self.rounds)


def _added(base: Vector, factor: float, other: Vector) -> Vector:
    return base + np.float32(factor) * other


def _ratio(first: Vector, second: Vector, tau: float) -> Vector:
    return np.divide(first, np.sqrt(second) + np.float32(tau), dtype=np.float32)


def _blend(old: Vector, new: Vector, decay: float) -> Vector:
    return np.float32(decay) * old + np.float32(1 - decay) * new
