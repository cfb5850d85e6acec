"""What differential privacy for a patient costs: a DP step's time and memory next to a plain step's.

A plain step is forward and backward of the mean loss over the same volumes, in one batch. A DP step
is the clipped sum over as many volumes, by each engine. All of them alternate in one process; a ratio
is the median over rounds of the two times within a round, so that other work on the machine meets
both. Noise takes the same time however many subjects are drawn, so it stands apart, and beside it
what a step over 50 subjects costs with it. Memory is the peak of a process above what it had before
the step, with the network and the inputs there, each in a process of its own.

    python benchmarks/dp.py --quick
    python benchmarks/dp.py --json     # on one core, most of an hour
"""

import argparse
import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from braing3n.budget import EngineName
from braing3n.conditions import VARIABLES
from braing3n.models.decoder import LatentDecoder
from braing3n.models.dit import DiffusionTransformer
from braing3n.models.flow import flow_loss
from braing3n.models.mae import MaskedAutoencoder
from braing3n.presets import Preset, TransformerSize
from braing3n.privacy.clipping import Inputs, Losses
from braing3n.privacy.dpsgd import clipped_sum, noised_gradient
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy_plan import StagePrivacy

NETWORKS = ("mae", "decoder", "dit")
ENGINES: tuple[EngineName, ...] = ("loop", "bookkeeping", "opacus")
OURS: tuple[EngineName, ...] = ("loop", "bookkeeping")
# 384 patches of 8³ voxels, of which the MAE sees 115; each network has about 5 or 40 million
# parameters.
PRESETS = {
    "5M": Preset((48, 64, 48), 3.0, 8, TransformerSize(240, 6, 6), TransformerSize(192, 2, 4), 64,
                 (16, 32, 96, 232), TransformerSize(240, 6, 6)),
    "40M": Preset((48, 64, 48), 3.0, 8, TransformerSize(576, 9, 8), TransformerSize(288, 4, 6), 64,
                  (32, 64, 256, 704), TransformerSize(512, 8, 8)),
}
# Volumes of a step: what one core can wait for.
VOLUMES = {"5M": {"mae": 16, "decoder": 4, "dit": 16}, "40M": {"mae": 8, "decoder": 4, "dit": 8}}
QUICK_VOLUMES = {"mae": 16, "decoder": 2, "dit": 16}
PRIVACY = StagePrivacy(noise_multiplier=1.0, sample_rate=0.1, clip_norm=0.1)
USUAL_DRAW = 50  # subjects


@dataclass(frozen=True)
class Case:
    """A network with subjects to train on.

    Attributes:
        network: Stirred, as some weights start at zero and a gradient of zero is no test.
        losses: (B,) of B rows.
        subjects: K rows each.
        microbatch: Subjects at once, for engines that take several: eight volumes.
    """

    network: nn.Module
    losses: Losses
    subjects: list[Inputs]
    microbatch: int


@dataclass(frozen=True)
class Row:
    """Figures of one network, size and K.

    Attributes:
        parameters: Millions.
        plain_s: Of a plain step, median.
        noise_s: Of a step's noise, median.
        over_plain: Time of the clipped sum over the plain step, by engine.
        with_noise: The same of a whole DP step over `USUAL_DRAW` subjects.
        plain_mb: Memory of a plain step above the network; None if not measured, as `memory` then.
        memory: The same of a clipped sum, over the plain step's, by engine.
    """

    network: str
    size: str
    views: int
    parameters: float
    plain_s: float
    noise_s: float
    over_plain: dict[str, float]
    with_noise: dict[str, float]
    plain_mb: float | None
    memory: dict[str, float]


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.measure_memory:
        print(measure_memory(*arguments.measure_memory, threads=arguments.threads))
        return
    rows = []
    for size in arguments.sizes:
        for network in arguments.networks:
            for views in arguments.views:
                rows.append(measure(network, size, views, arguments))
                if not arguments.json:
                    _print(rows[-1], first=len(rows) == 1)
    if arguments.json:
        print(json.dumps(_figures(rows)))


def build(name: str, size: str, views: int, volumes: int) -> Case:
    """Return a network of a size with subjects to train on, `views` of the volumes each."""
    torch.manual_seed(0)
    preset = PRESETS[size]
    classes = {"mae": MaskedAutoencoder, "decoder": LatentDecoder, "dit": DiffusionTransformer}
    network: nn.Module = classes[name](preset)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(torch.randn_like(weights), alpha=0.01)

    def losses(inputs: Inputs) -> Tensor:
        values: Tensor = flow_loss(network, *inputs) if name == "dit" else network(*inputs)
        return values

    subjects = [_inputs(name, preset, views) for _ in range(volumes // views)]
    return Case(network, losses, subjects, max(8 // views, 1))


def _inputs(name: str, preset: Preset, views: int) -> Inputs:
    latent = (views, preset.latent_channels, *preset.grid)
    volume = torch.randn(views, 1, *preset.shape)
    if name == "mae":
        return volume, torch.rand(views, preset.num_patches)
    if name == "decoder":
        tokens = torch.randn(views, preset.num_patches, preset.encoder.width)
        return tokens, volume, torch.randn(latent), torch.rand(views)
    conditions = torch.zeros(views, len(VARIABLES))
    return (torch.randn(latent), torch.randn(latent), torch.rand(views), conditions,
            torch.rand(views, len(VARIABLES)) < 0.1)


def plain_step(case: Case) -> None:
    """Leave the mean gradient over all volumes in the parameters."""
    case.network.zero_grad(set_to_none=True)
    inputs = tuple(torch.cat(parts) for parts in zip(*case.subjects, strict=True))
    torch.autograd.backward(case.losses(inputs).mean())


def dp_step(case: Case, engine: EngineName) -> None:
    """Compute the clipped sum over all subjects."""
    clipped_sum(case.network, case.losses, case.subjects, privacy=PRIVACY, engine=engine,
                microbatch=case.microbatch)


def noise_step(case: Case, randomness: SecureRandom) -> None:
    """Take a step without anybody in the draw: noise alone."""
    noised_gradient(case.network, case.losses, [], privacy=PRIVACY, num_subjects=100,
                    randomness=randomness, engine="loop", microbatch=1)


def measure(network: str, size: str, views: int, arguments: argparse.Namespace) -> Row:
    """Return the figures of one network, size and K."""
    volumes = QUICK_VOLUMES[network] if arguments.quick else VOLUMES[size][network]
    case, randomness = build(network, size, views, volumes), SecureRandom(0)
    actions: dict[str, Callable[[], None]] = {"plain": lambda: plain_step(case)}
    for engine in arguments.engines:
        actions[engine] = lambda engine=engine: dp_step(case, engine)
    actions["noise"] = lambda: noise_step(case, randomness)
    times: dict[str, list[float]] = {name: [] for name in actions}
    started = time.perf_counter()
    for number in range(arguments.repeats + 1):
        if number > arguments.at_least and time.perf_counter() - started > arguments.seconds:
            break
        for name, action in actions.items():
            times[name].append(_timed(action))
    times = {name: mine[1:] for name, mine in times.items()}  # one round to warm up

    def over_plain(name: str) -> float:
        pairs = zip(times[name], times["plain"], strict=True)
        return statistics.median(mine / plain for mine, plain in pairs)

    plain, noise = statistics.median(times["plain"]), statistics.median(times["noise"])
    scale = len(case.subjects) / USUAL_DRAW
    ratios = {engine: over_plain(engine) for engine in arguments.engines}
    memory = {engine: _memory_mb(engine, network, size, views, arguments.threads)
              for engine in ("plain", *arguments.engines) if arguments.memory}
    return Row(
        network, size, views, sum(p.numel() for p in case.network.parameters()) / 1e6, plain, noise,
        ratios, {engine: ratio + over_plain("noise") * scale for engine, ratio in ratios.items()},
        memory.get("plain"),
        {name: mine / memory["plain"] for name, mine in memory.items() if name != "plain"},
    )


def _timed(action: Callable[[], None]) -> float:
    # On one thread, what other processes take of the machine is left out.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    action()
    return clock() - start


def _memory_mb(engine: str, network: str, size: str, views: int, threads: int) -> float:
    """Measure the memory of a step in a process of its own."""
    # Without this, the allocator keeps what is freed, and the peak says nothing.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, __file__, "--threads", str(threads), "--measure-memory", engine, network,
         size, str(views)], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure_memory(engine: str, network: str, size: str, views: str, *, threads: int) -> float:
    """Return how many MB a step's peak is above what this process holds before it."""
    torch.set_num_threads(threads)
    case = build(network, size, int(views), VOLUMES[size][network])

    def step(work: Case) -> None:
        if engine == "plain":
            plain_step(work)
        else:
            dp_step(work, engine)  # type: ignore[arg-type]

    # What libraries set up once is no part of a step; but a plain step's whole batch would be kept.
    step(replace(case, subjects=case.subjects[:2]))
    case.network.zero_grad(set_to_none=True)
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = _status_kb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    step(case)
    return (_status_kb("VmHWM") - before) / 1024


def _status_kb(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _print(row: Row, *, first: bool) -> None:
    engines = list(row.over_plain)
    if first:
        print("clipped sum over plain step: time, with noise at "
              f"{USUAL_DRAW} subjects, memory above the model")
        print(f"{'network':9}{'size':>6}{'K':>3}{'plain s':>9}{'MB':>7}{'noise s':>9}"
              + "".join(f"{engine:>23}" for engine in engines))
    plain_mb = math.nan if row.plain_mb is None else row.plain_mb
    print(f"{row.network:9}{row.parameters:5.1f}M{row.views:3}{row.plain_s:9.3f}{plain_mb:7.0f}"
          f"{row.noise_s:9.3f}" + "".join(
              f"{row.over_plain[engine]:9.2f}{row.with_noise[engine]:7.2f}"
              f"{row.memory.get(engine, math.nan):7.2f}" for engine in engines), flush=True)


def _figures(rows: list[Row]) -> dict[str, object]:
    """Return everything, and of the largest size and smallest K each network's two headlines."""
    headline: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (row.parameters, -row.views)):
        headline[row.network] = row
    figures: dict[str, object] = {
        "fast_over_plain": {name: round(min(row.over_plain[e] for e in OURS if e in row.over_plain), 3)
                            for name, row in headline.items()},
        "opacus_over_plain": {name: round(row.over_plain["opacus"], 3)
                              for name, row in headline.items() if "opacus" in row.over_plain},
    }
    figures["rows"] = [vars(row) for row in rows]
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="about a minute: the small size, K = 1, time only")
    parser.add_argument("--json", action="store_true", help="one object in place of the table")
    parser.add_argument("--sizes", nargs="+", choices=tuple(PRESETS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--views", nargs="+", type=int, metavar="K")
    parser.add_argument("--threads", type=int, default=1,
                        help="one is timed by CPU seconds, more by the clock on the wall")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--measure-memory", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.sizes = arguments.sizes or (["5M"] if arguments.quick else list(PRESETS))
    arguments.views = arguments.views or ([1] if arguments.quick else [1, 4])
    arguments.at_least, arguments.repeats, arguments.seconds = (
        (1, 9, 8.0) if arguments.quick else (2, 8, 60.0))
    arguments.memory = arguments.memory and not arguments.quick
    return arguments


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
