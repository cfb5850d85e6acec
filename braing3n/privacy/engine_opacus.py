"""The engine of Opacus: single volumes' gradients by its hooks, clipped by ours.

Yousefpour et al. 2021, "Opacus: user-friendly differential privacy library in PyTorch",
https://arxiv.org/abs/2109.12298. Of it we take `GradSampleModule` alone. Its clipping is per volume
and its ghost clipping lets a volume weigh more than C where a convolution does not pad with zeros.
It is the second opinion of our tests, and takes much more memory.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from braing3n.privacy.clipping import ClippedSum, Inputs, Losses, row_losses
from braing3n.privacy.engine_loop import add_subject
from braing3n.privacy.microbatch import Microbatch
from braing3n.privacy.network_parts import find_parts, frozen, one_a_row, refused


class OpacusEngine:
    """Takes the volumes of a microbatch at once, each with a gradient of its own.

    Args:
        network: What is trained.

    Raises:
        ConfigError: Part of it is something that `bookkeeping` has no rule for: Opacus would try, and
            get some of it wrong without a word.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        # Its hooks cannot see what is used outside of a layer, so that is ours.
        _, self._places = find_parts(network)

    def add(self, losses: Losses, subjects: Sequence[Inputs], total: ClippedSum) -> None:
        """Add the clipped gradients of `subjects`, each the mean over its rows, to `total`.

        Raises:
            ConfigError: The network is not in training mode, in which alone Opacus hears it.
        """
        if not self._network.training:
            raise refused(type(self._network).__name__, "a network in training mode", "one that is not")
        microbatch = Microbatch(subjects)
        if microbatch.rows == 1:  # networks may treat a batch of one in their own way
            add_subject(losses, subjects[0], total)
            return
        with ExitStack() as stack:
            stack.enter_context(frozen([total.parameters[name] for name in self._places]))
            stack.enter_context(_hooked(self._network))
            copies = stack.enter_context(one_a_row(self._places, microbatch.rows))
            values = row_losses(losses, microbatch.inputs)
            torch.autograd.backward(values.sum())
            for name, parameter in total.parameters.items():
                found = copies[name].grad if name in copies else _grad_sample(parameter)
                if found is not None:
                    by_subject = found.view(-1, microbatch.views, *found.shape[1:])
                    single = microbatch.views == 1  # then without another copy
                    microbatch.hold(name, found if single else by_subject.mean(dim=1))
        means = values.detach().view(-1, microbatch.views).mean(dim=1)
        microbatch.add_to(total, losses, means.tolist())


@contextmanager
def _hooked(network: nn.Module) -> Iterator[None]:
    """Let Opacus hear a network for a while, and leave nothing of it there afterwards."""
    from opacus import GradSampleModule  # noqa: PLC0415 - takes two seconds

    kept = [(parameter, parameter.grad) for parameter in network.parameters()]
    with warnings.catch_warnings():
        # First layers get an input that needs no gradient.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        module = GradSampleModule(network, loss_reduction="sum", strict=False)
        try:
            yield
        finally:
            module.to_standard_module()
            for part in network.modules():
                for name in ("activations", "max_batch_len"):
                    part.__dict__.pop(name, None)
            for parameter, gradient in kept:
                parameter.grad = gradient


def _grad_sample(parameter: nn.Parameter) -> Tensor | None:
    """Take (B, *shape) gradients off a parameter; None if the loss does not depend on it."""
    found: Tensor | None = getattr(parameter, "grad_sample", None)
    parameter.grad_sample = None  # type: ignore[attr-defined]
    parameter.grad = None  # the sum of the batch, which nobody wants
    return found
