"""The engine on CPUs: one subject after the other, exact for any network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from braing3n.privacy.clipping import ClippedSum, Inputs, Losses, row_losses, squared_norm


class LoopEngine:
    """Takes each subject's gradient by itself; in memory is one at a time beside the sum.

    Nothing is asked of the network: batch norms aside, which no engine takes, whatever is computed
    from one subject's rows is this subject's own.

    Args:
        network: What is trained.
    """

    def __init__(self, network: nn.Module) -> None:
        del network  # any will do

    def add(self, losses: Losses, subjects: Sequence[Inputs], total: ClippedSum) -> None:
        """Add the clipped gradients of `subjects`, each the mean over its rows, to `total`."""
        for inputs in subjects:
            add_subject(losses, inputs, total)


def add_subject(losses: Losses, inputs: Inputs, total: ClippedSum) -> None:
    """Add one subject's clipped gradient to `total`."""
    loss, found = subject_gradient(losses, inputs, total)
    pairs = [(s, g) for s, g in zip(total.sums.values(), found, strict=True) if g is not None]
    gradients = [gradient for _, gradient in pairs]
    (factor,) = total.weigh([loss], [squared_norm(gradients)])
    if factor:  # 0 · NaN is NaN
        torch._foreach_add_([s for s, _ in pairs], gradients, alpha=factor)


def subject_gradient(
    losses: Losses, inputs: Inputs, total: ClippedSum
) -> tuple[float, Sequence[Tensor | None]]:
    """Return one subject's mean loss, and its gradient: None where the loss does not depend on it."""
    loss = row_losses(losses, inputs).mean()
    found = torch.autograd.grad(loss, list(total.parameters.values()), allow_unused=True)
    return loss.item(), found
