"""Having an arm's networks look at every scan: its embedding, and how well it is decoded."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from braing3n.data.examples import chunks
from braing3n.data.site_data import SiteData
from braing3n.evaluation.encoders import open_run
from braing3n.evaluation.reconstruction import psnr, ssim
from braing3n.evaluation.thumbnails import thumbnails
from braing3n.files import replacing
from braing3n.models.mae import Encoder
from braing3n.networks import open_decoder
from braing3n.plan import Plan
from braing3n.presets import PRESETS
from braing3n.weights import load_weights
from server.stages import encoder_of, initial_weights
from simulation.compare.measured import RANDOM, THUMBNAILS, Measured
from simulation.compare.scans import Scans

_BATCH_SIZE = 8


def scans_of(data: Mapping[str, SiteData]) -> Scans:
    """Return all sites' scans, in the order in which arms are measured."""
    rows = [(name, example, is_test) for name, site in data.items()
            for examples, is_test in ((site.train, False), (site.held_out, True))
            for example in examples]
    return Scans(
        np.array([name for name, _, _ in rows]), np.array([one.subject for _, one, _ in rows]),
        np.array([one.conditions for _, one, _ in rows], dtype=np.float64),
        np.array([is_test for *_, is_test in rows]))


def measure_arm(run: Path, plan: Plan, data: Mapping[str, SiteData], kept: Path) -> None:
    """Measure a finished run on all sites' scans, and keep its figures in a file.

    Args:
        run: The arm's run.
        plan: The federation's; its networks are the arm's.
        data: All sites'.
        kept: The file.
    """
    encoder = open_run(run).network
    decoder = open_decoder(plan, load_weights(run / "model" / "decoder.safetensors"),
                           torch.device("cpu"))
    features, peaks, structures = [], [], []
    with torch.no_grad():
        for site in data.values():
            for examples, is_held_out in ((site.train, False), (site.held_out, True)):
                for batch in chunks(examples, _BATCH_SIZE):
                    volume = site.volumes(batch)                          # (B, 1, X, Y, Z)
                    tokens = encoder.encode(encoder.cut(volume), None)    # (B, 1 + N, E)
                    features.append(encoder.pool(tokens))                 # (B, 2 E)
                    nothing = torch.full((len(batch),), torch.nan)
                    decoded = decoder.decode(decoder.project(tokens[:, 1:])) if is_held_out else None
                    peaks.append(nothing if decoded is None else psnr(volume, decoded))
                    structures.append(nothing if decoded is None else ssim(volume, decoded))
    figures = Measured(*(torch.cat(parts).numpy() for parts in (features, peaks, structures)))
    with replacing(kept) as part:
        np.savez(part, allow_pickle=False, features=figures.features, psnr=figures.psnr,
                 ssim=figures.ssim)


def baseline_features(plan: Plan, data: Mapping[str, SiteData]) -> dict[str, NDArray[np.float32]]:
    """Return features that nobody trained: of the first weights, and thumbnails.

    Args:
        plan: Whose first weights.
        data: All sites'.

    Returns:
        (n, d) by name, in the order of `scans_of`.
    """
    encoder = Encoder(PRESETS[plan.preset]).eval()
    encoder.load_state_dict(encoder_of(initial_weights(plan, "pretrain")))
    random, small = [], []
    with torch.no_grad():
        for site in data.values():
            for batch in (*chunks(site.train, _BATCH_SIZE), *chunks(site.held_out, _BATCH_SIZE)):
                volume = site.volumes(batch)                              # (B, 1, X, Y, Z)
                random.append(encoder.embed(volume))
                small.append(thumbnails(volume))
    return {RANDOM: torch.cat(random).numpy(), THUMBNAILS: torch.cat(small).numpy()}
