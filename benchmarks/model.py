"""How long one training step of each network takes, next to MONAI's masked autoencoder.

A step is forward, backward and AdamW. MONAI's `MaskedAutoEncoderViT` does the same work: the same
sizes, mask ratio and decoder, and the mean absolute error over its hidden patches. Ours and
MONAI's steps alternate in one process, and of each the fastest counts: other work on the machine
only ever adds time. The share of the peak is the FLOPs of a step, counted by PyTorch, over its
time and the fastest of some large matrix products on the same device.

    python benchmarks/model.py --quick
    python benchmarks/model.py --device cuda --preset full --compile
"""

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.networks.nets import MaskedAutoEncoderViT
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from braing3n.conditions import VARIABLES
from braing3n.models.decoder import LatentDecoder
from braing3n.models.dit import DiffusionTransformer
from braing3n.models.flow import flow_loss
from braing3n.models.mae import MaskedAutoencoder, patchify
from braing3n.presets import PRESETS, Preset

MASK_RATIO = 0.7
# Volumes of a step: what a CPU can wait for, and what fills an accelerator.
CPU_BATCH = {"nano": 8, "small": 2, "base": 1, "full": 1}
CUDA_BATCH = {"nano": 256, "small": 32, "base": 32, "full": 32}


@dataclass(frozen=True)
class Work:
    """A network and the loss that one step lowers."""

    network: nn.Module
    loss: Callable[[], Tensor]


@dataclass(frozen=True)
class Timing:
    """One network's figures.

    Attributes:
        seconds: The fastest step.
        share: FLOPs a second over the device's measured peak.
        ratio: Time over that of MONAI's network; NaN without one.
    """

    seconds: float
    share: float
    ratio: float


def main() -> None:
    arguments = _arguments()
    device = torch.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    peak = matmul_peak(device)
    print(f"{device}: {peak / 1e12:.3f} TFLOP/s in large matrix products, "
          f"{'bfloat16' if device.type == 'cuda' else 'float32'}")
    print(f"{'preset':8}{'network':10}{'batch':>6}{'ms/step':>10}{'ms/volume':>11}"
          f"{'of peak':>9}{'/ MONAI':>9}")
    figures: dict[str, object] = {"device": device.type, "peak_tflops": round(peak / 1e12, 3)}
    for name, networks in _selection(arguments):
        preset = PRESETS[name]
        batch = arguments.batch or (CUDA_BATCH if device.type == "cuda" else CPU_BATCH)[name]
        for network in networks:
            timing = _measure(network, preset, batch, peak, arguments)
            print(f"{name:8}{network:10}{batch:6}{timing.seconds * 1e3:10.1f}"
                  f"{timing.seconds * 1e3 / batch:11.1f}{timing.share:9.1%}{timing.ratio:9.2f}",
                  flush=True)
            key = f"{name}_{network}"
            figures[f"{key}_batch"] = batch
            figures[f"{key}_step_s"] = round(timing.seconds, 5)
            figures[f"{key}_share_of_peak"] = round(timing.share, 4)
            if network == "mae":
                figures[f"{key}_over_monai"] = round(timing.ratio, 3)
    print(json.dumps(figures))


def matmul_peak(device: torch.device) -> float:
    """Return the best FLOP/s of square matrix products, in the type that steps run in."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    first, second = torch.randn(2, size, size, device=device, dtype=dtype)
    return max(2 * size**3 / _timed(lambda: first @ second, device) for _ in range(12))


def build(network: str, preset: Preset, batch: int, device: torch.device) -> Work:
    """Return one of our networks with a batch to train on."""
    grid = (batch, preset.latent_channels, *preset.grid)
    with device:
        volume = torch.randn(batch, 1, *preset.shape)
        latent, noise, sigma = torch.randn(grid), torch.randn(grid), torch.rand(batch)
        if network == "mae":
            mae = MaskedAutoencoder(preset, MASK_RATIO)
            return Work(mae, lambda: mae(volume, torch.rand(batch, preset.num_patches,
                                                            device=device)).mean())
        if network == "decoder":
            decoder = LatentDecoder(preset)
            tokens = torch.randn(batch, preset.num_patches, preset.encoder.width)
            return Work(decoder, lambda: decoder(tokens, volume, noise, sigma).mean())
        dit = DiffusionTransformer(preset)
        conditions = torch.zeros(batch, len(VARIABLES))
        hidden = torch.rand(batch, len(VARIABLES)) < 0.1
    return Work(dit, lambda: flow_loss(dit, latent, noise, sigma, conditions, hidden).mean())


def build_monai(preset: Preset, batch: int, device: torch.device) -> Work:
    """Return MONAI's masked autoencoder of the same sizes, flash attention on."""
    inner, outer = preset.encoder, preset.mae_decoder
    network = MaskedAutoEncoderViT(
        in_channels=1, img_size=preset.shape, patch_size=[preset.patch] * 3,
        hidden_size=inner.width, mlp_dim=4 * inner.width, num_layers=inner.depth,
        num_heads=inner.heads, masking_ratio=MASK_RATIO, decoder_hidden_size=outer.width,
        decoder_mlp_dim=4 * outer.width, decoder_num_layers=outer.depth,
        decoder_num_heads=outer.heads,
    ).to(device)
    for module in network.modules():
        if hasattr(module, "use_flash_attention"):
            module.use_flash_attention = True
    volume = torch.randn(batch, 1, *preset.shape, device=device)

    def loss() -> Tensor:
        prediction, mask = network(volume)                                 # (B, N, P³), (B, N)
        error = (prediction - patchify(volume, preset.patch)).abs().mean(dim=2)
        masked: Tensor = (error * mask).sum() / mask.sum()
        return masked

    return Work(network, loss)


def _measure(
    network: str, preset: Preset, batch: int, peak: float, arguments: argparse.Namespace
) -> Timing:
    device = torch.device(arguments.device)
    works = [build(network, preset, batch, device)]
    if network == "mae":
        works.append(build_monai(preset, batch, device))
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(works[0].loss())
    steps = [_step(work, device, arguments.compile) for work in works]
    times: list[list[float]] = [[] for _ in steps]
    started = time.perf_counter()
    for number in range(arguments.repeats + 2):
        if number > 4 and time.perf_counter() - started > arguments.seconds:
            break
        for step, mine in zip(steps, times, strict=True):
            mine.append(_timed(step, device))
    ours, *others = [min(mine[2:]) for mine in times]  # two rounds to warm up
    ratio = ours / others[0] if others else math.nan
    return Timing(ours, counter.get_total_flops() / ours / peak, ratio)


def _step(work: Work, device: torch.device, compiled: bool) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(work.network.parameters(), 1e-4, fused=True)
    if compiled:
        work.network.compile()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = work.loss()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _timed(action: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _selection(arguments: argparse.Namespace) -> list[tuple[str, tuple[str, ...]]]:
    """Return presets and their networks, within what the device can hold and a person waits for."""
    everything = ("mae", "decoder", "dit")
    if arguments.preset:
        return [(arguments.preset, everything)]
    if arguments.quick:
        return [("nano", everything), ("small", ("mae",))]
    if arguments.device == "cuda":
        return [(name, everything) for name in reversed(PRESETS)]
    # One step of the two large presets takes a CPU minutes and up to 20 GB.
    return [("nano", everything), ("small", everything), ("base", ("mae", "dit"))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="at most a minute: nano, small's MAE")
    parser.add_argument("--device", choices=("cpu", "cuda"),
                        default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--preset", choices=tuple(PRESETS))
    parser.add_argument("--batch", type=int, help="volumes of a step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="on a CPU")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    arguments = parser.parse_args()
    arguments.repeats, arguments.seconds = (20, 5.0) if arguments.quick else (30, 40.0)
    return arguments


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    main()
