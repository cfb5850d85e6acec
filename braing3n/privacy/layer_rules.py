"""How the gradient of each kind of layer follows from what went in and what came back.

For every rule, B rows are S subjects with K views each, in order; a is a layer's input and g the
gradient of its output, both with B rows. Nothing here knows of the rest of the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A module, a, g and S -> by parameter of the module, (S, *shape) gradients.
Gradients = Callable[[Any, Tensor, Tensor, int], dict[str, Tensor]]


@dataclass(frozen=True)
class Ghost:
    """How to do without single subjects' gradients, where a and g are much less to hold than these.

    Attributes:
        is_smaller: A module, a, g and S -> whether they are, so that it takes no longer either.
        squared_norms: A module, a, g and S -> (S,) squared norms of the gradients of all its
            parameters together, and (S,) what these may be wrong by at most.
        weighted: A module, a and g, (B,) weights -> sums over rows of weighted gradients.
    """

    is_smaller: Callable[[Any, Tensor, Tensor, int], bool]
    squared_norms: Callable[[Any, Tensor, Tensor, int], tuple[Tensor, Tensor]]
    weighted: Callable[[Any, Tensor, Tensor, Tensor], dict[str, Tensor]]


def _any_settings(module: nn.Module) -> bool:
    del module
    return True


@dataclass(frozen=True)
class Rule:
    """What `bookkeeping` knows of a kind of layer.

    Attributes:
        gradients: Single subjects' gradients.
        is_covered: Whether the rule is right for a module with its settings.
        ghost: How to do without them; None where they are never the larger thing.
    """

    gradients: Gradients
    is_covered: Callable[[Any], bool] = _any_settings
    ghost: Ghost | None = None


# --- Linear ------------------------------------------------------------------------------------


def _by_subject(rows: Tensor, subjects: int) -> Tensor:
    """Return (S, T, F) float32 of (B, ..., F): all tokens of all of a subject's views."""
    return rows.float().reshape(subjects, -1, rows.shape[-1])


def _linear_gradients(
    module: nn.Linear, a: Tensor, g: Tensor, subjects: int
) -> dict[str, Tensor]:
    a, g = _by_subject(a, subjects), _by_subject(g, subjects)              # (S, T, I), (S, T, O)
    found = {"weight": torch.bmm(g.transpose(1, 2), a)}                    # (S, O, I)
    if module.bias is not None:
        found["bias"] = g.sum(dim=1)                                       # (S, O)
    return found


def _linear_ghost_is_smaller(module: nn.Linear, a: Tensor, g: Tensor, subjects: int) -> bool:
    # At a quarter of the size, Gram matrices and a sum for all take as long as single gradients.
    return 4 * (a.numel() + g.numel()) <= subjects * module.weight.numel()


def _linear_squared_norms(
    module: nn.Linear, a: Tensor, g: Tensor, subjects: int
) -> tuple[Tensor, Tensor]:
    """‖Σ g_t a_tᵀ‖² = Σ (a_t · a_u)(g_t · g_u), and for the bias as if each a had one more 1."""
    a, g = _by_subject(a, subjects), _by_subject(g, subjects)              # (S, T, I), (S, T, O)
    inputs = torch.bmm(a, a.transpose(1, 2))                               # (S, T, T)
    if module.bias is not None:
        inputs += 1
    return _inner(inputs, torch.bmm(g, g.transpose(1, 2)))


def _linear_weighted(
    module: nn.Linear, a: Tensor, g: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    g = g.float() * weights.view(-1, *[1] * (g.ndim - 1))
    g = g.flatten(0, -2)                                                   # (B T, O)
    found = {"weight": g.t() @ a.float().flatten(0, -2)}                   # (O, I)
    if module.bias is not None:
        found["bias"] = g.sum(dim=0)
    return found


def _inner(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (S,) inner products of (S, T, T) Gram matrices, and what they may be wrong by.

    A Gram matrix's numbers are right to a few 2⁻²⁴ of the lengths behind them, and such errors
    nearly cancel in the sum: measured are 10⁻⁸ of ‖first‖ ‖second‖. We allow for 3 · 10⁻⁸, and for
    squares below what float32 can hold. Where gradients of tokens cancel, that is much next to what
    is left of them; so the caller must look.
    """
    products = (first * second).sum(dim=(1, 2), dtype=torch.float64)       # (S,)
    lengths = [torch.linalg.vector_norm(gram, dim=(1, 2)).double() for gram in (first, second)]
    return products, 2.0**-25 * lengths[0] * lengths[1] + 1e-30 * (lengths[0] + lengths[1])


# --- Norms and embeddings, whose gradients are always small --------------------------------------


def _layer_norm_gradients(
    module: nn.LayerNorm, a: Tensor, g: Tensor, subjects: int
) -> dict[str, Tensor]:
    shape = (subjects, -1, *module.normalized_shape)
    g = g.float().reshape(shape)                                           # (S, T, *E)
    found = {"weight": (F.layer_norm(a.float(), module.normalized_shape, eps=module.eps)
                        .reshape(shape) * g).sum(dim=1)}                   # (S, *E)
    if module.bias is not None:
        found["bias"] = g.sum(dim=1)                                       # (S, *E)
    return found


def _group_norm_gradients(
    module: nn.GroupNorm, a: Tensor, g: Tensor, subjects: int
) -> dict[str, Tensor]:
    g = g.float()                                                          # (B, C, *space)
    normal = F.group_norm(a.float(), module.num_groups, eps=module.eps)    # (B, C, *space)
    rows = {"weight": normal * g, "bias": g}
    rows = {name: values.reshape(*values.shape[:2], -1).sum(dim=2) for name, values in rows.items()}
    return {name: row.view(subjects, -1, row.shape[1]).sum(dim=1) for name, row in rows.items()}


def _embedding_gradients(
    module: nn.Embedding, a: Tensor, g: Tensor, subjects: int
) -> dict[str, Tensor]:
    index = a.reshape(subjects, -1)                                        # (S, T)
    index = index + module.num_embeddings * torch.arange(subjects, device=a.device).unsqueeze(1)
    table = g.new_zeros(subjects * module.num_embeddings, module.embedding_dim, dtype=torch.float32)
    table.index_add_(0, index.flatten(), g.float().reshape(-1, module.embedding_dim))
    return {"weight": table.view(subjects, *module.weight.shape)}


def _is_plain_table(module: nn.Embedding) -> bool:
    return (module.padding_idx is None and module.max_norm is None
            and not module.scale_grad_by_freq and not module.sparse)


# --- Convolutions --------------------------------------------------------------------------------

_Convolution = nn.Conv3d | nn.ConvTranspose3d


def _pads_with_zeros(module: _Convolution) -> bool:
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _kernel_gradient(module: _Convolution, a: Tensor, g: Tensor) -> Tensor:
    """Return the gradient of the weight, summed over rows."""
    _, weight, _ = torch.ops.aten.convolution_backward(
        g, a, module.weight.detach(), [g.shape[1]], module.stride, module.padding, module.dilation,
        module.transposed, module.output_padding, module.groups, [False, True, False])
    found: Tensor = weight
    return found


def _convolution_gradients(
    module: _Convolution, a: Tensor, g: Tensor, subjects: int
) -> dict[str, Tensor]:
    a, g = a.float(), g.float()
    found = {"weight": a.new_empty(subjects, *module.weight.shape)}
    pairs = zip(a.chunk(subjects), g.chunk(subjects), strict=True)
    for values, (own_a, own_g) in zip(found["weight"], pairs, strict=True):
        values.copy_(_kernel_gradient(module, own_a, own_g))  # on a CPU, as fast as all at once
    if module.bias is not None:
        found["bias"] = g.flatten(2).sum(dim=2).view(subjects, -1, g.shape[1]).sum(dim=1)
    return found


def _convolution_ghost_is_smaller(module: nn.Conv3d, a: Tensor, g: Tensor, subjects: int) -> bool:
    is_plain = (set(module.stride), set(module.dilation), module.groups) == ({1}, {1}, 1)
    smaller = 4 * (a.numel() + g.numel()) <= subjects * module.weight.numel()
    return is_plain and smaller and len(a) == subjects  # with one view each


def _convolution_squared_norms(
    module: nn.Conv3d, a: Tensor, g: Tensor, subjects: int
) -> tuple[Tensor, Tensor]:
    """The linear layer's formula, with the patch under the kernel as each place's input.

    Patches are never cut out: their inner products are sums of those of single places.
    """
    del subjects  # one row each
    places = _padded(module, a.float())                                    # (B, x, y, z, C)
    inner = places.flatten(1, 3)                                           # (B, P, C)
    inner = torch.bmm(inner, inner.transpose(1, 2))                        # (B, P, P)
    number = torch.arange(inner.shape[1], device=a.device).view(places.shape[1:4])
    inputs = torch.zeros(len(a), *[g[0, 0].numel()] * 2, device=a.device)  # (B, T, T)
    for offset in product(*map(range, module.kernel_size)):
        under = number[tuple(slice(start, start + size) for start, size in
                             zip(offset, g.shape[2:], strict=True))].flatten()  # (T,)
        inputs += inner[:, under][:, :, under]
    if module.bias is not None:
        inputs += 1
    g = g.float().flatten(2)                                               # (B, O, T)
    return _inner(inputs, torch.bmm(g.transpose(1, 2), g))


def _padded(module: nn.Conv3d, a: Tensor) -> Tensor:
    """Return (B, x, y, z, C) of (B, C, X, Y, Z), with the zeros around it that the layer adds."""
    x, y, z = (int(size) for size in module.padding)
    return F.pad(a.permute(0, 2, 3, 4, 1), (0, 0, z, z, y, y, x, x))


def _convolution_weighted(
    module: nn.Conv3d, a: Tensor, g: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    g = g.float() * weights.view(-1, 1, 1, 1, 1)
    found = {"weight": _kernel_gradient(module, a.float(), g)}
    if module.bias is not None:
        found["bias"] = g.flatten(2).sum(dim=2).sum(dim=0)
    return found


# Of these very types: what a subclass does is not known.
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: Rule(_linear_gradients, ghost=Ghost(
        _linear_ghost_is_smaller, _linear_squared_norms, _linear_weighted)),
    nn.LayerNorm: Rule(_layer_norm_gradients),
    nn.GroupNorm: Rule(_group_norm_gradients),
    nn.Embedding: Rule(_embedding_gradients, _is_plain_table),
    nn.Conv3d: Rule(_convolution_gradients, _pads_with_zeros, Ghost(
        _convolution_ghost_is_smaller, _convolution_squared_norms, _convolution_weighted)),
    nn.ConvTranspose3d: Rule(_convolution_gradients, _pads_with_zeros),
}
