"""Several subjects at once: what is held of each until its norm is known, and then the sum."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from braing3n.privacy.clipping import ClippedSum, Inputs, Losses, squared_norms
from braing3n.privacy.engine_loop import add_subject

# Weights (B,) of rows -> sums of weighted gradients by parameter; rows of weight 0 are left out.
Weighted = Callable[[Tensor], Mapping[str, Tensor]]

# How much of a squared norm may be error, which is added to it, so that nobody weighs more than C.
_DOUBT = 4e-6
# Sums of squares below this may have left what float32 holds.
_SMALLEST_SQUARE = 1e-20


class Microbatch:
    """S subjects with K rows each, in order.

    Args:
        subjects: Their inputs, equally many rows each.
    """

    def __init__(self, subjects: Sequence[Inputs]) -> None:
        self.subjects = subjects
        self.inputs: Inputs = tuple(torch.cat(parts) for parts in zip(*subjects, strict=True))
        self.rows = len(self.inputs[0])
        self.views = self.rows // len(subjects)
        self._squares = torch.zeros(len(subjects), dtype=torch.float64, device=self.inputs[0].device)
        self._doubts = torch.zeros_like(self._squares)
        self._held: dict[str, Tensor] = {}
        self._postponed: list[Weighted] = []

    def hold(self, name: str, gradients: Tensor) -> None:
        """Take in each subject's gradient of a parameter, (S, *shape)."""
        self._squares += squared_norms(gradients)
        self._held[name] = gradients

    def postpone(self, squares: Tensor, doubts: Tensor, weighted: Weighted) -> None:
        """Take in norms alone; gradients are summed when weights are known.

        Args:
            squares: (S,) squared norms.
            doubts: (S,) what these may be wrong by at most.
            weighted: The sum.
        """
        self._squares += squares
        self._doubts += doubts
        self._postponed.append(weighted)

    def sure_squares(self) -> list[float | None]:
        """Return each subject's squared norm; None if it cannot be told well from what is held.

        That is so if it is not finite or next to nothing, or where tokens' gradients nearly cancel.
        """
        squares, doubts = (self._squares + self._doubts).tolist(), self._doubts.tolist()
        return [square if _SMALLEST_SQUARE < square < math.inf and doubt <= _DOUBT * square else None
                for square, doubt in zip(squares, doubts, strict=True)]

    def add_to(self, total: ClippedSum, losses: Losses, means: Sequence[float]) -> None:
        """Clip and add all subjects; those whose norm is not sure through the loop.

        Args:
            total: What they are added to.
            losses: For the loop.
            means: Each subject's mean loss over its rows.
        """
        factors = [0.0] * len(self.subjects)
        for number, square in enumerate(self.sure_squares()):
            if square is None:
                add_subject(losses, self.subjects[number], total)
            else:
                (factors[number],) = total.weigh([means[number]], [square])
        if not any(factors):
            return
        weights = torch.tensor(factors, device=self._squares.device)       # (S,)
        while self._held:  # each is let go of as soon as it is added
            name, gradients = self._held.popitem()
            _add_weighted(total.sums[name], gradients, weights)
        while self._postponed:
            for name, found in self._postponed.pop()(weights.repeat_interleave(self.views)).items():
                total.sums[name] += found


def _add_weighted(into: Tensor, gradients: Tensor, weights: Tensor) -> None:
    """Add the sum over subjects of (S, *shape) gradients, each times its weight."""
    flat = gradients.flatten(1)                                            # (S, n)
    weights = weights.to(flat.dtype)
    if not weights.all():  # 0 · NaN is NaN
        chosen = weights.nonzero().flatten()
        flat, weights = flat[chosen], weights[chosen]
    if into.is_contiguous() and into.dtype == flat.dtype:
        into.view(-1).addmv_(flat.t(), weights)
    else:  # with channels last
        into += torch.mv(flat.t(), weights).view(into.shape)
