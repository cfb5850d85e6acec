"""Local-only, federated and pooled training side by side, on the embedded cohort with known truth.

    python benchmarks/quality.py [--quick] [--out DIR]

Every site sees the same number of local steps in the federation and alone; pooled training takes as
many steps as all sites together, at one place that has all scans. Alone and pooled, there is nothing
to merge: one optimiser goes through, without the coordinator's. All models are then measured on the
same held-out subjects, site by site, and on brains generated from several seeds: at 40 brains, one
seed's rank correlation is up to 0.2 from another's. Ends with one JSON line.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from braing3n.config import DataConfig, load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.data.site_data import SiteData, open_site_data
from braing3n.data.splits import FILE_NAME, Side, place, remember, strata_of
from braing3n.evaluation.generation import open_sampler
from braing3n.evaluation.reconstruction import mean_volume_psnr
from braing3n.objectives import mean_volume, open_objective
from braing3n.plan import STAGE_NAMES, Plan, load_plan
from braing3n.presets import PRESETS
from braing3n.weights import load_weights
from simulation.grid import run_locally
from simulation.phantom.fidelity import measure_age_fidelity
from simulation.phantom.write import write_phantom
from simulation.pooled import pool_folders
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.sites import write_site_files

QUICK = ("stages.pretrain.rounds=1 stages.pretrain.local_steps=4 stages.decoder.rounds=1 "
         "stages.decoder.local_steps=3 stages.diffusion.rounds=1 stages.diffusion.local_steps=3 "
         "stages.diffusion.sampling_steps=2")

NOISE_SEEDS = (1, 1001, 2001)  # each sample takes the next number


def split_at_sites(folders: dict[str, Path]) -> dict[str, Side]:
    """Return every subject's side at its own site: whom that holds out, no arm may train on."""
    split: dict[str, Side] = {}
    for folder in folders.values():
        data = DataConfig(folder=folder)
        volumes = open_cohort(data).volumes
        split |= place(strata_of((v.subject, v.conditions) for v in volumes), data, {})
    return split


def train_arm(plan: Path, folders: dict[str, Path], split: dict[str, Side], out: Path,
              sweep: str) -> None:
    """Run the plan over some sites in this process."""
    torch.set_num_threads(1)
    sites = write_site_files(folders, out)
    for path in sites.glob("*.yaml"):
        remember(load_site_config(path).state_dir / FILE_NAME, split)
    run_locally(plan, sites, out, sweep=sweep)


def measure(run: Path, plan: Plan, data: SiteData) -> dict[str, float]:
    """Measure a finished run's autoencoder and decoder on one site's held-out subjects."""
    device = torch.device("cpu")
    figures: dict[str, float] = {}
    parts = {part: load_weights(run / "model" / f"{part}.safetensors")
             for part in ("encoder", "decoder")}
    manifest = json.loads((run / "rounds" / "pretrain" / "manifest.json").read_text())
    weights = {"pretrain": load_weights(run / "rounds" / "pretrain" / manifest["file"]),
               "decoder": parts["decoder"]}
    for stage in ("pretrain", "decoder"):
        objective = open_objective(plan, stage, data, parts, device)
        objective.network.load_state_dict(weights[stage])
        figures |= objective.evaluate(data.held_out, torch.Generator().manual_seed(0))
    return {"masked_loss_ratio": figures["loss"] / figures["trivial_loss"],
            "psnr_gain_db": figures["psnr"] - figures["mean_volume_psnr"],
            "psnr_gain_over_modality_mean_db": figures["psnr"] - modality_mean_psnr(data),
            "psnr_db": figures["psnr"], "ssim": figures["ssim"]}


def modality_mean_psnr(data: SiteData) -> float:
    """Return the PSNR of the site's mean volume of each modality: a harder baseline than of all."""
    values = []
    for modality in sorted({example.modality for example in data.held_out}):
        alike = tuple(example for example in data.train if example.modality == modality)
        mean = mean_volume(replace(data, train=alike or data.train))
        volumes = data.volumes([e for e in data.held_out if e.modality == modality])
        values += mean_volume_psnr(volumes, mean).tolist()
    return float(np.mean(values))


def age_spearman(run: Path, plan: Plan, samples: int, seeds: Sequence[int]) -> list[float]:
    """Return the rank correlation of requested age and measured ventricles, for each seed."""
    torch.set_num_threads(1)
    parts = {part: load_weights(run / "model" / f"{part}.safetensors")
             for part in ("decoder", "statistics", "dit")}
    sampler = open_sampler(plan, parts)
    return [measure_age_fidelity(sampler, seed, samples).spearman for seed in seeds]


def watch(jobs: dict[str, Future], out: Path) -> None:
    """Say every 15 seconds where each arm is, until all are done."""
    began = told = time.monotonic()
    while not all(job.done() for job in jobs.values()):
        time.sleep(0.5)
        if time.monotonic() - told < 15:
            continue
        told = time.monotonic()
        places = []
        for name, job in jobs.items():
            record = out / name / "run.json"
            stages = json.loads(record.read_text())["stages"] if record.exists() else []
            if stages and not job.done():
                places.append(f"{name}: {stages[-1]['name']} round "
                              f"{min(len(stages[-1]['participation']) + 1, stages[-1]['rounds'])}/"
                              f"{stages[-1]['rounds']}")
        print(f"[{time.monotonic() - began:.0f} s] {'; '.join(places)}", flush=True)


def compare(
    out: Path, plan_path: Path, sweep: str, sites: int, subjects: int, samples: int,
    seeds: Sequence[int],
) -> dict[str, dict]:
    """Train all arms, two at a time, and return each one's figures, as means over the sites."""
    plan = load_plan(plan_path, sweep)
    folders = find_site_folders(
        write_phantom(out / "phantom", sites=sites, subjects=subjects, seed=plan.seed)
    )
    alone = f"{sweep} min_sites=1 " + " ".join(
        f"stages.{name}.server.name=fedavg stages.{name}.server.learning_rate=1" for name in STAGE_NAMES
    )
    times = " ".join(f"stages.{name}.local_steps={(plan.stage(name).local_steps or 1) * len(folders)}"
                     for name in STAGE_NAMES)
    arms: dict[str, tuple[dict[str, Path], str]] = {
        "federated": (folders, sweep),
        "pooled": (pool_folders(folders, out), f"{alone} {times}"),
        **{f"local-{name}": ({name: folder}, alone) for name, folder in folders.items()},
    }
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as workers:
        split = split_at_sites(folders)
        jobs = {name: workers.submit(train_arm, plan_path, places, split, out / name, replacements)
                for name, (places, replacements) in arms.items()}
        watch(jobs, out)
        for job in jobs.values():
            job.result()
        ranks = {
            name: workers.submit(age_spearman, out / name, plan, samples,
                                 seeds if name in ("federated", "pooled") else seeds[:1])
            for name in arms  # local arms are as many models as there are sites: a seed each is enough
        }
        configs = [load_site_config(p) for p in sorted((out / "federated/sites").glob("*.yaml"))]
        opened = {site.name: open_site_data(site, PRESETS[plan.preset]) for site in configs}
        data = {name: site for name, site in opened.items() if site.held_out}
        figures = {
            "federated": mean([measure(out / "federated", plan, site) for site in data.values()]),
            "pooled": mean([measure(out / "pooled", plan, site) for site in data.values()]),
            "local": mean([measure(out / f"local-{name}", plan, site) for name, site in data.items()]),
        }
        found = {
            "federated": ranks["federated"].result(),
            "pooled": ranks["pooled"].result(),
            "local": [r for name in data for r in ranks[f"local-{name}"].result()],
        }
    for arm, values in found.items():
        figures[arm]["age_ventricle_spearman"] = float(np.mean(values))
        figures[arm]["age_ventricle_spearman_least"] = min(values)
    return figures


def mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over the sites."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="next to no training, under 60 s")
    parser.add_argument("--plan", type=Path, default=PLANS / "quality.yaml")
    parser.add_argument("--out", type=Path, help="keep the runs here")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        sweep = QUICK if options.quick else ""
        sites, subjects, samples = (2, 10, 4) if options.quick else (4, 128, 40)
        seeds = NOISE_SEEDS[: 1 if options.quick else None]
        figures = compare(out, options.plan, sweep, sites, subjects, samples, seeds)
    names = list(next(iter(figures.values())))
    print(f"{'':24}" + "".join(f"{arm:>12}" for arm in ("local", "federated", "pooled")))
    for name in names:
        print(f"{name:24}" + "".join(f"{figures[arm][name]:12.3f}"
                                     for arm in ("local", "federated", "pooled")))
    flat = {f"{arm}_{name}": round(value, 4)
            for arm, row in figures.items() for name, value in row.items()}
    print(json.dumps({"benchmark": "quality", "quick": options.quick,
                      "seconds": round(time.monotonic() - began, 1), **flat}))


if __name__ == "__main__":
    main()
