"""What one subject may add to a step's sum, and the sum that every engine fills."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# What a subject's losses are computed from: each tensor has one row a volume (a "view").
Inputs = tuple[Tensor, ...]
# (B,) losses, one a row; nothing is left to chance in it, and no row knows of another.
Losses = Callable[[Inputs], Tensor]

LOSS_SHARE = 0.1  # of what a subject may add to the loss's coordinate, over the gradient
_MARGIN = 1e-6    # rounding must not carry a subject above the clip norm
_ROW = 256        # numbers whose squares are summed in float32
# A subject that would be scaled down further gives nothing: the factor would lose digits, and a
# gradient this large holds nothing to learn from.
_SMALLEST_FACTOR = 1e-30


@dataclass(frozen=True)
class Clipped:
    """What clipping met in a step. Exact numbers on patients: for the site's own log, never to leave.

    Attributes:
        num_drawn: Subjects in the draw.
        norms: Each subject's gradient norm before clipping, in order; NaN or infinite as found.
        losses: Each subject's mean loss over its views.
        num_zeroed: Subjects that gave nothing, as their loss or gradient was no finite number.
        num_clipped: Subjects whose gradient was scaled down.
    """

    num_drawn: int
    norms: tuple[float, ...]
    losses: tuple[float, ...]
    num_zeroed: int
    num_clipped: int


class ClippedSum:
    """Sum over subjects of gradients scaled to a norm, with the loss as one more coordinate.

    With s = C / √1.01, a subject's gradient has a norm of at most s (1 − 10⁻⁶), and the loss's
    coordinate is at most 0.1 s: together at most C.

    Args:
        parameters: The trainable parameters by name.
        clip_norm: C.
        loss_bound: Loss from which on the loss's coordinate no longer grows.
    """

    def __init__(
        self, parameters: dict[str, nn.Parameter], clip_norm: float, loss_bound: float
    ) -> None:
        scale = clip_norm / math.sqrt(1 + LOSS_SHARE**2)
        self.loss_unit = LOSS_SHARE * scale * (1 - _MARGIN)
        self.loss = 0.0  # the loss's coordinate
        self.parameters = parameters
        # Laid out in memory as the parameters are.
        self.sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._bound = scale * (1 - _MARGIN)
        self._loss_bound = loss_bound
        self._norms: list[float] = []
        self._losses: list[float] = []
        self._factors: list[float] = []

    def weigh(self, losses: Sequence[float], squared_norms: Sequence[float]) -> list[float]:
        """Take in subjects' losses, and return what to multiply their gradients by before adding.

        Args:
            losses: Each subject's mean loss over its views.
            squared_norms: Of the gradient of that mean.

        Returns:
            A factor in [0, 1] a subject; exactly 0 for one that must not be added at all, because
            its loss or gradient is not finite or the gradient is 10³⁰ times too large.
        """
        factors = []
        for loss, squared in zip(losses, squared_norms, strict=True):
            norm = math.sqrt(squared) if squared >= 0 else math.nan
            factor = min(1.0, self._bound / norm) if norm else 1.0
            if not (math.isfinite(loss) and math.isfinite(norm) and factor > _SMALLEST_FACTOR):
                factor = 0.0
            else:
                self.loss += self.loss_unit * min(max(loss / self._loss_bound, 0.0), 1.0)
            self._norms.append(norm)
            self._losses.append(loss)
            factors.append(factor)
        self._factors += factors
        return factors

    def diagnostics(self) -> Clipped:
        """Return what clipping met so far."""
        return Clipped(
            num_drawn=len(self._factors), norms=tuple(self._norms), losses=tuple(self._losses),
            num_zeroed=self._factors.count(0.0),
            num_clipped=sum(0 < factor < 1 for factor in self._factors),
        )


def squared_norm(tensors: Sequence[Tensor]) -> float:
    """Return the sum of all squares, right to 10⁻⁶ for any number of them; NaN or inf if one is.

    Float32 sums over 40 million squares come out 0.5 % low on a CPU, so that a subject would weigh
    more than it may. Here rows of 256 are summed in float32 and their sums in float64: as fast as
    memory is read. Equal numbers, whose rounding errors are equal too, are the worst case, with
    3 · 10⁻⁷; rows of 4,096 would give 4 · 10⁻⁶, more than the margin below the clip norm.
    """
    total = _sum_of_squares(tensors, torch.float32)
    if 1e-20 < total < math.inf:
        return total
    return _sum_of_squares(tensors, torch.float64)  # squares may have left float32's range


def row_losses(losses: Losses, inputs: Inputs) -> Tensor:
    """Return (B,) losses of B rows.

    Raises:
        ValueError: They are not one a row: a mean over rows would let patients weigh on one another.
    """
    values = losses(inputs)
    if values.shape != (len(inputs[0]),):
        raise ValueError(f"losses of {len(inputs[0])} rows are one a row, not {tuple(values.shape)}")
    return values


def squared_norms(rows: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return (S,) float64 sums of squares of (S, ...), as `squared_norm` does but in one go.

    What is not between 10⁻²⁰ and infinite may have left float32's range on the way.
    """
    flat = rows.detach().flatten(1)                                        # (S, n)
    whole = flat.shape[1] // _ROW * _ROW
    found = torch.zeros(len(flat), dtype=torch.float64, device=flat.device)
    for part in (flat[:, :whole].view(len(flat), -1, _ROW), flat[:, whole:].unsqueeze(1)):
        if part.numel():
            wide = torch.promote_types(dtype, part.dtype)
            lengths = torch.linalg.vector_norm(part, dim=2, dtype=wide)
            found += lengths.double().square().sum(dim=1)
    return found


def _sum_of_squares(tensors: Sequence[Tensor], dtype: torch.dtype) -> float:
    parts = [squared_norms(tensor.unsqueeze(0), dtype) for tensor in tensors]
    return torch.cat(parts).sum().item() if parts else 0.0
