"""The conditional diffusion transformer over the latent grid.

After Peebles and Xie 2023, "Scalable Diffusion Models with Transformers",
https://arxiv.org/abs/2212.09748: transformer blocks whose norms are shifted, scaled and gated by
time and conditions, and that start as the identity (adaLN-zero). What is ours: positions that a
linear layer can tell apart, conditions that are as loud as time, and a preconditioning in the
manner of Karras et al. 2022, https://arxiv.org/abs/2206.00364.

Shapes: B volumes, C latent channels, gx gy gz the latent grid of N points, W width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from braing3n.conditions import VARIABLES, Variable
from braing3n.models.transformer import Attention, Mlp, grid_waves, initialise_linear
from braing3n.presets import Preset

_TIME_FREQUENCIES = 128
# The fastest wave has a period of 1/2, fifty years: with faster ones, a small cohort's subjects are
# told apart by their ages.
_VALUE_FREQUENCIES = 3
# Every embedding starts about this large. At the usual 0.02 a network hears what is asked for only
# after thousands of steps.
_EMBEDDING_STD = 0.8
# Places outweigh the noised latents, so that the first layers see the place through the noise.
_PLACE_SCALE = 3.0
# The variance of a latent number that is left to itself, of the 1 that latents are normalised to.
_OWN_VARIANCE = 0.1


def check_conditions(conditions: Tensor) -> None:
    """Check that every number is one that a network knows; once, outside of the hot path.

    Args:
        conditions: (B, 6) in the order of `VARIABLES`; NaN is unknown.

    Raises:
        ValueError: The shape is another, a continuous value is infinite, or a code is not one
            of its variable's.
    """
    if conditions.ndim != 2 or conditions.shape[1] != len(VARIABLES):
        raise ValueError(f"conditions are (B, {len(VARIABLES)}), not {tuple(conditions.shape)}")
    for column, variable in enumerate(VARIABLES):
        values = conditions[:, column]
        values = values[~values.isnan()]
        known = values.isfinite()
        if variable.codes:
            known = (values == values.floor()) & (values >= 0) & (values < len(variable.codes))
        if not known.all():
            raise ValueError(f"{variable.name} cannot be {values[~known][0].item():g}")


class DiffusionTransformer(nn.Module):
    """Predicts the velocity from latents to noise, given time and the six variables.

    Args:
        preset: Sizes.
    """

    places: Tensor

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width, channels = preset.dit.width, preset.latent_channels
        self.grid = preset.grid
        self.enter = nn.Linear(channels, width)
        initialise_linear(self.enter)
        self.time = _TimeEmbedding(width)
        self.variables = nn.ModuleList(
            _CodeEmbedding(v, width) if v.codes else _ValueEmbedding(width) for v in VARIABLES
        )
        self.blocks = nn.ModuleList(
            _ConditionedBlock(width, preset.dit.heads) for _ in range(preset.dit.depth)
        )
        self.modulation = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, channels)
        places = _PLACE_SCALE * grid_waves(preset.grid, width)
        self.register_buffer("places", places, persistent=False)
        self.blocks.apply(initialise_linear)
        # At first every block is the identity and the velocity a multiple of the input.
        for layer in (self.modulation, self.leave, *(b.modulation for b in self._typed_blocks())):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, latent: Tensor, time: Tensor, conditions: Tensor, hidden: Tensor) -> Tensor:
        """Return the velocity at a noised latent.

        Args:
            latent: (B, C, gx, gy, gz) on the way between data and noise.
            time: (B,) in [0, 1]; 0 is data, 1 is noise.
            conditions: (B, 6) in the order of `VARIABLES`, NaN where unknown; as
                `check_conditions` wants them.
            hidden: (B, 6) bool; True treats a variable as unknown.

        Returns:
            (B, C, gx, gy, gz).
        """
        context = self._context(time, conditions, hidden)                  # (B, 1, W)
        own, gain, damping = _preconditioning(time)                        # (B, 1, 1, 1, 1) each
        tokens = self.enter((damping * latent).flatten(2).transpose(1, 2))  # (B, N, W)
        tokens = tokens + self.places                                      # (B, N, W)
        for block in self.blocks:
            tokens = block(tokens, context)                                # (B, N, W)
        shift, scale = self.modulation(context).chunk(2, dim=2)            # (B, 1, W) each
        change: Tensor = self.leave(_modulate(tokens, shift, scale))       # (B, N, C)
        return own * latent + gain * change.transpose(1, 2).reshape_as(latent)

    def _context(self, time: Tensor, conditions: Tensor, hidden: Tensor) -> Tensor:
        """Return what all blocks are conditioned on, (B, 1, W)."""
        known = ~(conditions.isnan() | hidden)                             # (B, 6)
        # A NaN would reach gradients even where it is not selected: 0 · NaN is NaN.
        values = torch.where(known, conditions, 0.0)                       # (B, 6)
        context = self.time(time)                                          # (B, W)
        for column, embedding in enumerate(self.variables):
            context = context + embedding(values[:, column], known[:, column])
        return F.silu(context).unsqueeze(1)                                # (B, 1, W)

    def _typed_blocks(self) -> list["_ConditionedBlock"]:
        return [block for block in self.blocks if isinstance(block, _ConditionedBlock)]


class _ConditionedBlock(nn.Module):
    """A transformer block whose two halves are shifted, scaled and gated by a context."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.mlp = Mlp(width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Tokens (B, N, W) in the light of a context (B, 1, W) -> (B, N, W)."""
        for_attention, for_mlp = self.modulation(context).chunk(2, dim=2)  # (B, 1, 3 W) each
        shift, scale, gate = for_attention.chunk(3, dim=2)                 # (B, 1, W) each
        tokens = tokens + gate * self.attention(_modulate(tokens, shift, scale))
        shift, scale, gate = for_mlp.chunk(3, dim=2)                       # (B, 1, W) each
        change: Tensor = gate * self.mlp(_modulate(tokens, shift, scale))  # (B, N, W)
        return tokens + change


class _TimeEmbedding(nn.Module):
    """Waves of time at geometrically spaced frequencies, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * _TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        _initialise_embedding(self.mlp)

    def forward(self, time: Tensor) -> Tensor:
        """Time (B,) in [0, 1] -> (B, W)."""
        steps = torch.arange(_TIME_FREQUENCIES, device=time.device) / _TIME_FREQUENCIES
        frequency = 1000.0 * torch.exp(-math.log(10_000.0) * steps)        # (F,)
        embedded: Tensor = self.mlp(_waves(time, frequency))               # (B, W)
        return embedded


class _CodeEmbedding(nn.Module):
    """One vector per category, and one for "unknown" behind them."""

    def __init__(self, variable: Variable, width: int) -> None:
        super().__init__()
        self.unknown = len(variable.codes)
        self.table = nn.Embedding(self.unknown + 1, width)
        nn.init.normal_(self.table.weight, std=_EMBEDDING_STD)

    def forward(self, code: Tensor, known: Tensor) -> Tensor:
        """Codes (B,), 0 where not known (B,) -> (B, W)."""
        embedded: Tensor = self.table(torch.where(known, code.long(), self.unknown))
        return embedded                                                    # (B, W)


class _ValueEmbedding(nn.Module):
    """Waves of a number, then an MLP; one learned vector for "unknown"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * _VALUE_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        _initialise_embedding(self.mlp)
        self.unknown = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.unknown, std=_EMBEDDING_STD)

    def forward(self, value: Tensor, known: Tensor) -> Tensor:
        """Values (B,), about 0 to 1 and 0 where not known (B,) -> (B, W)."""
        steps = torch.arange(_VALUE_FREQUENCIES, device=value.device)
        embedded = self.mlp(_waves(value, math.pi * 2.0**steps))           # (B, W)
        return torch.where(known.unsqueeze(1), embedded, self.unknown)     # (B, W)


def _initialise_embedding(mlp: nn.Sequential) -> None:
    """Give an MLP over waves an output about as large as `_EMBEDDING_STD`, at any width."""
    for layer in mlp:
        if isinstance(layer, nn.Linear):
            # Waves have a mean square of 1/2 and SiLU loses about as much; times 2, as in He et
            # al. 2015, https://arxiv.org/abs/1502.01852.
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))
            nn.init.zeros_(layer.bias)


def _preconditioning(time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the input, the blocks' output and the blocks' input are multiplied by.

    After Karras et al. 2022, for the straight path, with one difference. A latent number has
    variance 1, but most of that its neighbours and the conditions tell, and the blocks see those:
    what is left to the number itself has a variance of s = `_OWN_VARIANCE`. The first factor is
    the best linear guess of the velocity from such a number, (t − (1 − t) s) / (t² + (1 − t)² s),
    so that the blocks need not carry the noise to the output, where what is lost of it shows as
    patches. The second is the deviation of that guess's error, √(s / (t² + (1 − t)² s)). What the
    neighbours tell comes on top of it, so the blocks' target has a variance of up to 1 / s. The
    third gives the blocks' input, of latents of variance 1, a variance of 1.

    Args:
        time: (B,) in [0, 1].

    Returns:
        (B, 1, 1, 1, 1) each; finite at every time.
    """
    noise = time.view(-1, 1, 1, 1, 1)                                      # (B, 1, 1, 1, 1)
    data = 1 - noise                                                       # (B, 1, 1, 1, 1)
    spread = noise.square() + data.square() * _OWN_VARIANCE                # (B, 1, 1, 1, 1)
    return ((noise - data * _OWN_VARIANCE) / spread, (_OWN_VARIANCE / spread).sqrt(),
            (noise.square() + data.square()).rsqrt())


def _waves(values: Tensor, frequency: Tensor) -> Tensor:
    """Return sines and cosines of (B,) values at (F,) frequencies: (B, 2 F)."""
    angles = values.unsqueeze(1) * frequency                               # (B, F)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _modulate(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Norm without parameters of its own, then scale and shift: (B, N, W) -> (B, N, W)."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift
