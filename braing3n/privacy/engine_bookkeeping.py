"""The engine for accelerators: all subjects of a microbatch in one backward pass.

Bu et al. 2022, "Differentially private optimization on large foundation models",
https://arxiv.org/abs/2210.00038: the backward pass goes through activations only. With what went into
a layer and the gradient of what came out of it, each subject's gradient norm is known, and after
clipping the weighted sum is one more product, without a second backward pass. Ours groups rows by
subject, and until norms are known it holds of each layer what is less to hold and to compute: these
two, or each subject's gradient.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from braing3n.privacy.clipping import ClippedSum, Inputs, Losses, row_losses, squared_norm
from braing3n.privacy.engine_loop import add_subject, subject_gradient
from braing3n.privacy.layer_rules import Ghost
from braing3n.privacy.microbatch import Microbatch
from braing3n.privacy.network_parts import Layer, Place, find_parts, frozen, one_a_row, refused

# Networks whose gradients were compared with the loop's.
_COMPARED: WeakSet[nn.Module] = WeakSet()


class BookkeepingEngine:
    """Takes the subjects of a microbatch at once.

    Args:
        network: What is trained.

    Raises:
        ConfigError: Part of it has no rule; see `layer_rules.RULES`.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._layers, self._places = find_parts(network)

    def add(self, losses: Losses, subjects: Sequence[Inputs], total: ClippedSum) -> None:
        """Add the clipped gradients of `subjects`, each the mean over its rows, to `total`.

        Raises:
            ConfigError: A layer is called twice, or not with rows first; or the network, seen for
                the first time, has other gradients by the loop.
        """
        microbatch = Microbatch(subjects)
        if microbatch.rows == 1:  # networks may treat a batch of one in their own way
            add_subject(losses, subjects[0], total)
            return
        means = self._backward(losses, microbatch, total)
        if self._network not in _COMPARED:
            self._compare(losses, microbatch, total)
        microbatch.add_to(total, losses, means)

    def _backward(self, losses: Losses, microbatch: Microbatch, total: ClippedSum) -> list[float]:
        """Fill the microbatch, and return each subject's mean loss."""
        tape = _Tape(microbatch)
        with ExitStack() as stack:
            stack.enter_context(frozen(list(total.parameters.values())))
            copies = stack.enter_context(one_a_row(self._places, microbatch.rows))
            stack.enter_context(tape.listen(self._layers, self._places))
            means = row_losses(losses, microbatch.inputs).view(-1, microbatch.views).mean(dim=1)
            torch.autograd.backward(means.sum(), inputs=[*tape.leaves, *copies.values()])
            tape.leaves.clear()  # their hooks hold the tape: together they would wait for the collector
        for name, copy in copies.items():
            if copy.grad is not None:
                by_subject = copy.grad.view(-1, microbatch.views, *copy.shape[1:])
                microbatch.hold(name, by_subject.sum(dim=1))
        found: list[float] = means.detach().tolist()
        return found

    def _compare(self, losses: Losses, microbatch: Microbatch, total: ClippedSum) -> None:
        """Check one subject's norm by the loop, once for every network.

        Rules are right for what layers do. Whether a network does something beside its layers, such
        as using their weights itself, its modules do not tell.
        """
        for inputs, square in zip(microbatch.subjects, microbatch.sure_squares(), strict=True):
            if square is not None:
                _, gradients = subject_gradient(losses, inputs, total)
                found = squared_norm([part for part in gradients if part is not None])
                if abs(found / square - 1) > 1e-3:
                    raise refused(type(self._network).__name__, "the norm of a subject's gradient "
                                  f"by the loop, {found**0.5:.6g}", f"{square**0.5:.6g}")
                _COMPARED.add(self._network)
                return


class _Tape:
    """Hears what goes into layers and what comes back, and gives a microbatch what is to be held.

    Args:
        microbatch: What runs through the network.
    """

    def __init__(self, microbatch: Microbatch) -> None:
        self.leaves: list[Tensor] = []
        self._microbatch = microbatch
        self._heard: set[str] = set()
        self._inputs: dict[str, tuple[Tensor, int]] = {}  # by layer, with the version of each

    @contextmanager
    def listen(self, layers: Sequence[Layer], places: Mapping[str, Place]) -> Iterator[None]:
        """Hear every layer, for a while."""
        hooks = [layer.module.register_forward_hook(partial(self._hear, layer)) for layer in layers]
        hooks += [
            place.module.register_forward_hook(partial(self._see, name))
            for name, place in places.items() if place.is_vector
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hear(self, layer: Layer, _: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        if not torch.is_grad_enabled():  # nothing comes back from here
            return output
        if layer.name in self._heard:
            raise refused(layer.name, "a layer that is called once", "one that is called twice")
        self._heard.add(layer.name)
        if not args or {len(args[0]), len(output)} != {self._microbatch.rows}:
            raise refused(layer.name, f"one input with the {self._microbatch.rows} rows first",
                          ", ".join(str(tuple(arg.shape)) for arg in args) or "named inputs")
        if not output.requires_grad:
            output = output.detach().requires_grad_()
            self.leaves.append(output)
        self._inputs[layer.name] = args[0].detach(), args[0]._version
        output.register_hook(partial(self._take, layer))  # type: ignore[no-untyped-call]
        return output

    def _see(self, name: str, module: nn.Module, _: tuple[Any, ...], output: Tensor) -> None:
        if not isinstance(output, Tensor) or output.shape[:-1] != (self._microbatch.rows,):
            raise refused(name, "a vector in a module that gives one vector a row",
                          f"one in a {type(module).__name__}")

    def _take(self, layer: Layer, g: Tensor) -> None:
        """Take in the gradient of what came out of a layer, and let go of what went in."""
        a, version = self._inputs.pop(layer.name)
        if a._version != version:
            raise refused(layer.name, "an input that is left as it was", "one changed in place")
        rule, module, subjects = layer.rule, layer.module, len(self._microbatch.subjects)
        ghost = rule.ghost
        if ghost and layer.is_whole and ghost.is_smaller(module, a, g, subjects):
            squares, doubts = ghost.squared_norms(module, a, g, subjects)
            self._microbatch.postpone(squares, doubts, partial(_weighted, layer, ghost, a, g))
            return
        for key, gradients in rule.gradients(module, a, g, subjects).items():
            if key in layer.keys:
                self._microbatch.hold(layer.parameter(key), gradients)


def _weighted(
    layer: Layer, ghost: Ghost, a: Tensor, g: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    if not weights.all():  # 0 · NaN is NaN
        chosen = weights.nonzero().flatten()
        a, g, weights = a[chosen], g[chosen], weights[chosen]
    found = ghost.weighted(layer.module, a, g, weights)
    return {layer.parameter(key): gradient for key, gradient in found.items()}
