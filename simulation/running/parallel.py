"""How many simulated sites work at once: as many as cores, memory and GPUs hold."""

import os
from dataclasses import dataclass
from functools import cache
from math import ceil, floor
from pathlib import Path

from braing3n.errors import ConfigError
from braing3n.plan import Plan, StageName
from braing3n.presets import PRESETS, Preset, TransformerSize

# A site's process with torch, MONAI, Flower and Ray, and what reading scans takes, in MB. Measured at
# nano with batches of 2 (resident, shared libraries included): 732 in stage 1, 863 in stages 2 and 3.
BASE_MB = 800.0
# The coordinator, Flower's SuperLink, its programs, and Ray's own processes, without the models.
REST_MB = 2000.0
# Arrays as large as the network at the coordinator: the sum in 64 bits, weights, slots, messages.
_COORDINATOR_COPIES = 10
# The same at a site: the weights, those of the round's start, the gradient, AdamW's two moments, the
# received array, the update, and the message that it goes into.
_SITE_COPIES = 8
# Float32 numbers that a transformer block keeps for its gradient, for each token and channel: with the
# MLP four times as wide, 17 (Korthikanti 2022, arXiv 2205.05198, without attention scores and dropout).
_PER_BLOCK = 17
# Volumes as large as a level of the CNN decoder that each of its channels keeps for the gradient:
# two convolutions with norm and activation, the residual, the upsampling.
_PER_LEVEL = 8
MB = 2.0**20


@dataclass(frozen=True)
class Capacity:
    """How many sites work at once, and where.

    Attributes:
        parallel: How many; None leaves it to the cluster.
        reason: Why so many.
        gpus_each: Share of a GPU that each has.
        num_gpus: GPUs of this machine that are used.
        ray_address: An existing Ray cluster's.
    """

    parallel: int | None
    reason: str
    gpus_each: float = 0.0
    num_gpus: int = 0
    ray_address: str | None = None

    def as_federation_config(self) -> str:
        """Return the settings for Flower: Ray counts a core for each site that works."""
        settings = ["client-resources-num-cpus=1"]
        if self.gpus_each:
            settings.append(f"client-resources-num-gpus={self.gpus_each:g}")
        if self.parallel is not None:  # an existing cluster has its own numbers
            settings.append(f"init-args-num-cpus={self.parallel}")
            if self.num_gpus:
                settings.append(f"init-args-num-gpus={self.num_gpus}")
        return " ".join(settings)

    def __str__(self) -> str:
        if self.parallel is None:
            return f"sites at once: as many as the Ray cluster at {self.ray_address} has cores"
        return f"sites at once: {self.parallel} ({self.reason})"


def footprint_mb(plan: Plan, stage: StageName) -> float:
    """Return an estimate of a site's largest memory in a stage, in MB, on the careful side."""
    return BASE_MB + _SITE_COPIES * _network_mb(plan, stage) + _activations_mb(plan, stage)


def choose_parallel(
    plan: Plan, num_sites: int, asked: int | None = None, *, cores: int | None = None,
    available_mb: float | None = None, gpus_mb: tuple[float, ...] | None = None,
) -> Capacity:
    """Return how many sites of a plan this machine can have at work at once.

    Args:
        plan: The plan.
        num_sites: Sites in all.
        asked: What the user wants, in place of our own choice.
        cores: CPU cores; None looks.
        available_mb: Memory that can be had; None looks.
        gpus_mb: Free memory of each GPU, where sites compute on them; None is without GPUs.

    Raises:
        ConfigError: Not even one site fits into memory, or into a GPU.
    """
    cores = available_cores() if cores is None else cores
    available_mb = available_memory_mb() if available_mb is None else available_mb
    largest: StageName = max(plan.stage_names, key=lambda stage: footprint_mb(plan, stage))
    each_mb = footprint_mb(plan, largest)
    rest_mb = REST_MB + _COORDINATOR_COPIES * max(
        _network_mb(plan, stage) for stage in plan.stage_names)
    fits = floor((available_mb - rest_mb) / each_mb)
    memory = f"{available_mb / 1024:.1f} GB of memory hold {max(fits, 0)}"
    if asked is None and fits < 1:
        raise ConfigError("not even one site fits into memory", found=f"{available_mb / 1024:.1f} GB",
                          expected=f"{(rest_mb + each_mb) / 1024:.1f} GB, {each_mb / 1024:.1f} of them "
                                   f"for a site in stage {largest}",
                          fix="lower batch_size in the plan, take a smaller preset or a larger "
                              "machine; or give --parallel 1, if you know better")
    limits = {f"{num_sites} sites": num_sites, f"{cores} cores": cores, memory: fits}
    if gpus_mb is not None:
        limits[f"{len(gpus_mb)} GPUs"] = _fit_on_gpus(gpus_mb, each_mb - BASE_MB / 2)
    parallel = min(limits.values()) if asked is None else min(asked, num_sites)
    reason = "as asked" if asked is not None else ", ".join(limits)
    if gpus_mb is None:
        return Capacity(parallel, reason)
    share = floor(1000 / ceil(parallel / len(gpus_mb))) / 1000
    return Capacity(parallel, reason, gpus_each=share, num_gpus=len(gpus_mb))


def _fit_on_gpus(gpus_mb: tuple[float, ...], each_mb: float) -> int:
    fits = len(gpus_mb) * min((floor(free / each_mb) for free in gpus_mb), default=0)
    if fits < 1:
        raise ConfigError("sites want a GPU, and not even one fits", expected="a GPU with "
                          f"{each_mb / 1024:.1f} GB free", fix="set `device: cpu` in the sites' files, "
                          "or lower batch_size in the plan",
                          found=", ".join(f"{free / 1024:.1f} GB" for free in gpus_mb) or "no GPU")
    return fits


def available_cores() -> int:
    """Return the cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def available_memory_mb() -> float:
    """Return the memory that can be had without swapping, within a container's limit, in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free_mb = int(lines["MemAvailable"].split()[0]) / 1024
    return min([free_mb, *_limits_mb(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))])


def _limits_mb(membership: str, root: Path) -> list[float]:
    """Return what is left of each memory limit (cgroup 1 and 2) on this process, in MB."""
    found = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / "memory" if controllers else root
        names = (("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                 if controllers else ("memory.max", "memory.current", "inactive_file"))
        inside = top / path.lstrip("/")
        for folder in (inside, *inside.parents):
            if folder.is_relative_to(top):
                found += _limit_mb(folder, *names)
    return found


def _limit_mb(folder: Path, limit: str, usage: str, reclaimable: str) -> list[float]:
    try:
        most = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return []
    if most == "max":
        return []
    return [(int(most) - used + int(stat.get(reclaimable, 0))) / MB]


def free_gpus_mb() -> tuple[float, ...]:
    """Return the free memory of each GPU that PyTorch sees, in MB."""
    import torch  # noqa: PLC0415  # takes seconds

    return tuple(float(torch.cuda.mem_get_info(number)[0]) / MB
                 for number in range(torch.cuda.device_count()))


@cache  # a plan does not change, and building networks takes a second
def _network_mb(plan: Plan, stage: StageName) -> float:
    """Return the size of a stage's weights in MB."""
    import torch  # noqa: PLC0415

    from braing3n.networks import build_network  # noqa: PLC0415

    with torch.device("meta"):
        network = build_network(plan, stage)
    return float(sum(tensor.numel() * 4 for tensor in network.state_dict().values())) / MB


def _activations_mb(plan: Plan, stage: StageName) -> float:
    """Return what a training step keeps for its gradient, in MB."""
    preset, batch = PRESETS[plan.preset], plan.stage(stage).batch_size
    voxels = preset.shape[0] * preset.shape[1] * preset.shape[2]
    if stage == "pretrain":
        numbers = (_blocks(preset.encoder, preset.num_patches)
                   + _blocks(preset.mae_decoder, preset.num_patches) + 4 * voxels)
    elif stage == "decoder":
        numbers = _convolutions(preset, voxels) + _blocks(preset.encoder, preset.num_patches)
    else:
        numbers = _blocks(preset.dit, preset.num_patches) + voxels
    return batch * numbers * 4 / MB


def _blocks(size: TransformerSize, tokens: int) -> float:
    return float(_PER_BLOCK * size.depth * size.width * tokens)


def _convolutions(preset: Preset, voxels: int) -> float:
    """Count over the CNN decoder's levels, from voxels inwards, each an eighth of the one before."""
    return float(sum(_PER_LEVEL * channels * voxels / 8**level
                     for level, channels in enumerate(preset.cnn_channels)))
