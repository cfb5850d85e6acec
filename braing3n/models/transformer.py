"""What both transformers are made of: fixed positions, attention, the MLP and a plain block."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TEMPERATURE = 10_000.0  # Vaswani et al. 2017, https://arxiv.org/abs/1706.03762


def grid_positions(grid: tuple[int, int, int], width: int) -> Tensor:
    """Return fixed sine-cosine positions of the points of a 3D grid.

    Each axis has a third of the width: sines, then cosines, of the coordinate at geometrically
    spaced frequencies. The axes come in the order Y, X, Z, as in MONAI, so that an encoder
    trained there finds every patch where it was.

    Args:
        grid: Points along (X, Y, Z).
        width: Numbers per point.

    Returns:
        (N, width), points in the order of `patchify`: Z runs fastest.

    Raises:
        ValueError: `width` is not a multiple of 6.
    """
    if width % 6:
        raise ValueError(f"3D sine-cosine positions need a multiple of 6 as width, not {width}")
    steps = torch.arange(width // 6, dtype=torch.float32) / (width // 6)
    frequency = _TEMPERATURE**-steps                                       # (width / 6,)
    axes = [torch.arange(n, dtype=torch.float32) for n in grid]
    x, y, z = torch.meshgrid(*axes, indexing="ij")                         # (X, Y, Z) each
    angles = [axis.flatten()[:, None] * frequency for axis in (y, x, z)]   # (N, width / 6) each
    return torch.cat([wave(a) for a in angles for wave in (torch.sin, torch.cos)], dim=1)


def grid_waves(grid: tuple[int, int, int], width: int) -> Tensor:
    """Return fixed positions of the points of a 3D grid that a linear layer can tell apart.

    The lowest 3D cosine waves (products of DCT-II bases, Ahmed et al. 1974,
    https://doi.org/10.1109/T-C.1974.223784), each with mean square 1. With `grid_positions` a
    linear map of the code is a sum over the axes, f(x) + g(y) + h(z), and on a grid of few points
    most of its frequencies hardly move; here it is any smooth function of place, such as the mean
    brain, which the MAE's decoder learns in a fraction of the steps (our choice).

    Args:
        grid: Points along (X, Y, Z).
        width: Numbers per point; zeros where there are more than waves.

    Returns:
        (N, width), points in the order of `patchify`: Z runs fastest.
    """
    bases = [
        [torch.cos(torch.pi * (torch.arange(n) + 0.5) * k / n) for k in range(n)] for n in grid
    ]
    orders = sorted(
        itertools.product(*(range(n) for n in grid)),
        key=lambda order: sum((k / n) ** 2 for k, n in zip(order, grid, strict=True)),
    )[:width]
    waves = [
        torch.einsum("x,y,z->xyz", *(basis[k] for basis, k in zip(bases, order, strict=True)))
        for order in orders
    ]
    codes = torch.stack(waves, dim=-1).flatten(0, 2)                       # (N, at most width)
    codes = codes / codes.square().mean(dim=0).sqrt()
    return F.pad(codes, (0, width - codes.shape[1]))                       # (N, width)


def initialise_linear(module: nn.Module) -> None:
    """Give a linear layer Xavier-uniform weights and a zero bias; for `Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Attention(nn.Module):
    """Multi-head self-attention without a bias on queries, keys and values.

    Args:
        width: E, a multiple of `heads`.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Let the tokens of each volume attend to one another: (B, T, E) -> (B, T, E)."""
        split = self.qkv(tokens).unflatten(2, (3, self.heads, -1))         # (B, T, 3, H, E / H)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind()          # (B, H, T, E / H)
        mixed = F.scaled_dot_product_attention(query, key, value)          # (B, H, T, E / H)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))        # (B, T, E)
        return result


class Mlp(nn.Sequential):
    """Two linear layers with GELU between them; 4 times as wide inside.

    Args:
        width: E.
    """

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class Block(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929).

    Args:
        width: E.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add attention, then the MLP, to the tokens: (B, T, E) -> (B, T, E)."""
        attended: Tensor = self.attention(self.norm_attention(tokens))     # (B, T, E)
        tokens = tokens + attended                                         # (B, T, E)
        widened: Tensor = self.mlp(self.norm_mlp(tokens))                  # (B, T, E)
        return tokens + widened                                            # (B, T, E)
