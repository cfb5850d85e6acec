"""Encoders of others, from files that the user has: MedicalNet, BrainSegFounder and BrainIAC.

Nothing is ever downloaded. Their input is our volume, turned to RAS, padded to a cube and resized
to their cube by trilinear interpolation; intensities stay z-scores over the brain with background 0.
That is near to what each was trained with, not the same: docs/probes.md says how each differs.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch
import torch.nn.functional as F
from monai.networks.nets import ViT
from monai.networks.nets.resnet import ResNet
from monai.networks.nets.swin_unetr import SwinTransformer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from braing3n.errors import ConfigError
from braing3n.files import digest_file

SIDE = 96

# Blocks of MedicalNet's four layers, by depth.
_LAYERS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
# Where checkpoints keep the weights, besides at the top.
_INSIDE = ("state_dict", "model_state_dict", "model")
_COUNTERS = re.compile(r".*num_batches_tracked")
_SEGMENTATION = re.compile(r"conv_seg\..*")
# MONAI 1.4 and later own a norm that nothing runs; earlier ones may own the attention too.
_CROSS_ATTENTION = re.compile(r"blocks\.\d+\.(norm_cross_attn|cross_attn)\..*")
_NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True)
class PublishedEncoder:
    """A network of others, with its weights.

    Attributes:
        name: For tables.
        pooling: How a volume becomes one vector.
        network: From (B, 1, S, S, S) to (B, d), not training.
        device: Where it computes.
        digest: The sha256 of the file.
        side: S, edge of the cube that it takes.
        is_transposed: Whether it takes (Z, Y, X) rather than (X, Y, Z).
    """

    name: str
    pooling: str
    network: Callable[[Tensor], Tensor]
    device: torch.device
    digest: str
    side: int = SIDE
    is_transposed: bool = False

    @torch.no_grad()
    def embed(self, volumes: Tensor) -> Tensor:
        """Return (B, d) features of (B, 1, X, Y, Z) z-scored volumes on our grid (LPS)."""
        cubes = to_cube(volumes, self.side)                            # (B, 1, S, S, S)
        if self.is_transposed:
            cubes = cubes.permute(0, 1, 4, 3, 2).contiguous()
        return self.network(cubes.to(self.device)).float().cpu()


@dataclass(frozen=True)
class VitSize:
    """Sizes of a vision transformer."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072


def to_cube(volumes: Tensor, side: int) -> Tensor:
    """Return volumes turned from LPS to RAS, padded to a cube with background, and resized.

    Args:
        volumes: (B, 1, X, Y, Z).
        side: S.

    Returns:
        (B, 1, S, S, S).
    """
    longest = max(volumes.shape[2:])
    pads: list[int] = []
    for size in reversed(volumes.shape[2:]):
        pads += [(longest - size) // 2, longest - size - (longest - size) // 2]
    cube = F.pad(volumes.flip(2, 3), pads)                             # (B, 1, L, L, L)
    return F.interpolate(cube, size=(side,) * 3, mode="trilinear", align_corners=False)


def open_medicalnet(path: Path, device: torch.device, depth: int) -> PublishedEncoder:
    """Read a ResNet of MedicalNet (Chen et al. 2019, arXiv 1904.00625): depth 10, 18 or 50.

    MONAI's ResNet has its tensors; strides and dilations are set to MedicalNet's.
    """
    is_plain = depth == 18  # its shortcuts have no weights
    network = ResNet("bottleneck" if depth >= 50 else "basic", list(_LAYERS[depth]),
                     [64, 128, 256, 512], n_input_channels=1, conv1_t_stride=2, feed_forward=False,
                     shortcut_type="A" if is_plain else "B", bias_downsample=is_plain)
    _dilate(network.layer3, 2)
    _dilate(network.layer4, 4)
    _load(network, read_weights(path), path, may_lack=_COUNTERS, may_have=_SEGMENTATION)
    # Without a last layer, MONAI's forward ends with the mean over places.
    return PublishedEncoder(f"medicalnet{depth}", "mean over places of the last layer",
                            network.to(device).eval(), device, digest_file(path),
                            is_transposed=True)


def open_brainsegfounder(path: Path, device: torch.device, width: int = 48,
                         side: int = SIDE) -> PublishedEncoder:
    """Read the Swin encoder of BrainSegFounder (Cox et al. 2024, arXiv 2406.10395).

    Where it was trained with several channels, each gets our one volume.
    """
    weights = {re.sub(r"\.mlp\.fc([12])\.", r".mlp.linear\1.", key): tensor
               for key, tensor in _under("swinViT.", read_weights(path)).items()}
    first = weights.get("patch_embed.proj.weight")
    channels = 1 if first is None or first.ndim != 5 else first.shape[1]
    network = SwinTransformer(
        in_chans=channels, embed_dim=width, window_size=(7, 7, 7), patch_size=(2, 2, 2),
        depths=(2, 2, 2, 2), num_heads=(3, 6, 12, 24))
    _load(network, weights, path, may_lack=_NOTHING, may_have=_NOTHING)
    network = network.to(device).eval()

    def last_state(cubes: Tensor) -> Tensor:
        states: list[Tensor] = network(cubes.expand(-1, channels, -1, -1, -1).contiguous())
        return states[-1].mean(dim=(2, 3, 4))                          # (B, 16 · width)

    copies = f"; the volume in each of its {channels} channels" if channels > 1 else ""
    return PublishedEncoder("brainsegfounder", f"mean over places of the last hidden state{copies}",
                            last_state, device, digest_file(path), side)


def open_brainiac(path: Path, device: torch.device,
                  size: VitSize = VitSize()) -> PublishedEncoder:
    """Read the ViT of BrainIAC, patches of 16³ in a cube of 96³.

    Tak et al. (2024), https://doi.org/10.1101/2024.12.02.24317992.
    """
    network = ViT(in_channels=1, img_size=(SIDE,) * 3, patch_size=(16,) * 3, hidden_size=size.width,
                  mlp_dim=size.mlp, num_layers=size.depth, num_heads=size.heads)
    _load(network, _under("backbone.", read_weights(path)), path, may_lack=_CROSS_ATTENTION,
          may_have=_CROSS_ATTENTION)
    network = network.to(device).eval()

    def first_token(cubes: Tensor) -> Tensor:
        tokens: Tensor = network(cubes)[0]
        return tokens[:, 0]                                            # (B, E)

    return PublishedEncoder("brainiac", "first token, as its authors do (it is a patch's: there is no "
                            "CLS token)", first_token, device, digest_file(path))


PUBLISHED: Mapping[str, Callable[[Path, torch.device], PublishedEncoder]] = MappingProxyType({
    **{f"medicalnet{depth}": partial(open_medicalnet, depth=depth) for depth in _LAYERS},
    "brainsegfounder": open_brainsegfounder,
    "brainiac": open_brainiac,
})


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from safetensors or a PyTorch checkpoint, running nothing that is in it.

    Raises:
        ConfigError: It is neither, or holds more than weights.
    """
    expected = "a safetensors file, or a PyTorch checkpoint of tensors by name"
    try:
        content = (load_file(path) if path.suffix == ".safetensors"
                   else torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError,
            SafetensorError) as error:
        raise ConfigError(f"{path} cannot be read as weights", expected=expected,
                          found=(error.strerror if isinstance(error, OSError) else None)
                          or "another kind of file, a damaged one, or objects beside tensors",
                          fix="save its state dict alone with torch.save, where you trust the file; "
                              "objects of other kinds are not loaded, as they can run code"
                          ) from error
    for key in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)} if (
        isinstance(content, Mapping)) else {}
    if not tensors:
        raise ConfigError(f"{path} holds no weights", expected=expected,
                          found=type(content).__name__, fix="choose another file")
    return {key.removeprefix("module."): tensor for key, tensor in tensors.items()}


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors below a prefix without it; all where none has it."""
    inside = {key.removeprefix(prefix): tensor for key, tensor in weights.items()
              if key.startswith(prefix)}
    return inside or dict(weights)


def _load(network: nn.Module, weights: Mapping[str, Tensor], path: Path, *,
          may_lack: re.Pattern[str], may_have: re.Pattern[str]) -> None:
    """Fill a network, where every tensor is there in its shape.

    Raises:
        ConfigError: With the names and shapes of what is not.
    """
    own = network.state_dict()
    lacking = [f"{key} {tuple(own[key].shape)}" for key in own
               if key not in weights and not may_lack.fullmatch(key)]
    unknown = [f"{key} {tuple(weights[key].shape)}" for key in weights
               if key not in own and not may_have.fullmatch(key)]
    other = [f"{key} is {tuple(weights[key].shape)}, not {tuple(own[key].shape)}" for key in own
             if key in weights and weights[key].shape != own[key].shape]
    if lacking or unknown or other:
        raise ConfigError(
            f"{path} is not this network's weights",
            expected=f"{len(own)} tensors; it lacks {_some(lacking)}",
            found=f"{len(weights)} tensors; unknown: {_some(unknown)}; "
                  f"of another shape: {_some(other)}",
            fix="choose the file that its authors published for this very network")
    network.load_state_dict({**own, **{key: weights[key] for key in own if key in weights}})


def _some(items: list[str]) -> str:
    more = f" and {len(items) - 4} more" if len(items) > 4 else ""
    return ("; ".join(items[:4]) or "none") + more


def _dilate(layer: nn.Sequential, dilation: int) -> None:
    """Make a layer of MONAI's ResNet one of MedicalNet's, which widens kernels and keeps the grid."""
    for module in layer.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.dilation = module.padding = (dilation,) * 3
    shortcut = layer[0].downsample
    if isinstance(shortcut, partial):
        layer[0].downsample = partial(shortcut.func, **{
            **shortcut.keywords, "stride": 1})  # type: ignore[assignment]  # no module, as in MONAI
