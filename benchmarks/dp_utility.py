"""What differential privacy costs and gains: pretraining at 4 sites of 100 synthetic subjects each.

    python benchmarks/dp_utility.py [--quick] [--out DIR] [--workers 2]

Arms: ε of infinity (no differential privacy), 8, 3 and 1 at δ = 1e-5 for one patient, each from fresh
weights and from weights that were trained on other synthetic people and scanners (the phantom warm
start). Beside every arm stands what the phantom weights do as they are, and fresh ones. All arms have
the same steps, the same held-out subjects and the same measures: error on hidden patches over that of
predicting the mean, and linear probes of the frozen encoder, with 95 % intervals over held-out
subjects. The probes see labels without DP: they measure the encoder and are not released.
Writes dp_utility.json and dp_utility.png, and ends with one JSON line.
"""

import argparse
import json
import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure

from braing3n.config import DataConfig, SiteConfig, load_site_config
from braing3n.data.site_data import open_site_data
from braing3n.evaluation.labelled import LabelledSet
from braing3n.evaluation.metrics import resample
from braing3n.evaluation.probes import probe
from braing3n.evaluation.tasks import load_tasks
from braing3n.files import write_text
from braing3n.models.mae import MaskedAutoencoder
from braing3n.networks import build_autoencoder
from braing3n.plan import Plan, load_plan
from braing3n.presets import PRESETS
from braing3n.privacy.planning import plan_noise
from braing3n.weights import State, load_weights
from server.stages import initial_weights
from simulation.budgets import with_budget
from simulation.grid import run_locally
from simulation.phantom.write import write_phantom
from simulation.run import PLANS
from simulation.site_folders import find_site_folders
from simulation.warm_start import make_warm_start

PLAN = PLANS / "dp-utility.yaml"
NUM_SITES = 4
EPSILONS = (math.inf, 8.0, 3.0, 1.0)
STARTS = ("fresh", "phantom")
# Chosen on phantom subjects of yet another seed, which costs no privacy; see docs/benchmarks.md.
RATES = {("fresh", True): 1e-3, ("phantom", True): 3e-4,
         ("fresh", False): 2e-3, ("phantom", False): 1e-3}
AGE, DIAGNOSIS = 0, 2  # places in the six conditions
DIAGNOSES = ("HC", "MCI", "AD")


@dataclass(frozen=True)
class Arm:
    """One training run: its budget, where it starts, and the σ that the budget asks for."""

    epsilon: float
    start: str
    noise: float | None

    @property
    def name(self) -> str:
        return f"eps-{'inf' if self.noise is None else f'{self.epsilon:g}'}-{self.start}"

    @property
    def sweep(self) -> str:
        rate = RATES[self.start, self.noise is not None]
        noise = "" if self.noise is None else f"stages.pretrain.privacy.noise_multiplier={self.noise} "
        limit = 1.0 if self.noise is None else self.epsilon
        return (f"{noise}budget.epsilon={limit} stages.pretrain.start={self.start} "
                f"stages.pretrain.optimizer.learning_rate={rate}")


def arms_of(plan: Plan) -> list[Arm]:
    """Return all arms, with the least noise that keeps each budget."""
    noises = {epsilon: None if math.isinf(epsilon) else plan_noise(plan, epsilon, plan.budget.delta)
              for epsilon in EPSILONS}
    return [Arm(epsilon, start, noises[epsilon]) for epsilon in EPSILONS for start in STARTS]


def write_sites(cohort: Path, out: Path, plan: Plan | None) -> Path:
    """Write site files; the arms without DP hold out the same subjects as the others."""
    for name, folder in find_site_folders(cohort).items():
        config = SiteConfig(name=name, data=DataConfig(folder=folder, draw="alone"),
                            state_dir=Path(name))
        config = config if plan is None else with_budget(config, plan)
        content = config.model_dump(mode="json", exclude_defaults=True)
        write_text(out / "sites" / f"{name}.yaml", yaml.safe_dump(content))
    return out / "sites"


def train(arm: Arm, cohort: Path, out: Path, warm: Path, sweep: str) -> dict[str, Any]:
    """Run one arm in this process and return what it took and spent."""
    torch.set_num_threads(1)
    full = f"{sweep} {arm.sweep}"
    sites = write_sites(cohort, out, None if arm.noise is None else load_plan(PLAN, full))
    began = time.monotonic()
    if not (out / "model" / "encoder.safetensors").exists():
        run_locally(PLAN, sites, out, sweep=full, start=warm)
    record = json.loads((out / "run.json").read_text())
    spent = [told["stages"].get("pretrain", {}) for told in record["privacy_by_site"].values()]
    return {"seconds": time.monotonic() - began, "status": record["status"],
            "epsilon_spent": [each.get("epsilon_total") for each in spent],
            "signal_to_noise": [each.get("signal_to_noise") for each in spent]}


@dataclass(frozen=True)
class People:
    """All sites' T1w volumes; a row each."""

    volumes: torch.Tensor
    ages: np.ndarray
    diagnoses: np.ndarray
    subjects: np.ndarray
    sites: np.ndarray
    is_held_out: np.ndarray


def load_people(cohort: Path, out: Path, plan: Plan) -> People:
    """Read every subject's T1w volumes, with what is told of them."""
    volumes, rows = [], []
    for path in sorted(write_sites(cohort, out, None).glob("*.yaml")):
        config = load_site_config(path)
        data = open_site_data(config, PRESETS[plan.preset])
        for side, held in ((data.train, False), (data.held_out, True)):
            chosen = [e for e in side if e.modality == "T1w" and np.isfinite(e.conditions[AGE])]
            volumes.append(data.volumes(chosen))
            rows += [(e.conditions[AGE] * 100, e.conditions[DIAGNOSIS], e.subject, config.name, held)
                     for e in chosen]
    ages, diagnoses, subjects, sites, held_out = zip(*rows, strict=True)
    names = np.array(["unknown" if np.isnan(code) else DIAGNOSES[int(code)] for code in diagnoses])
    return People(torch.cat(volumes), np.array(ages), names, np.array(subjects), np.array(sites),
                  np.array(held_out))


@torch.no_grad()
def measure(weights: State, people: People, plan: Plan) -> dict[str, Any]:
    """Return the figures of one autoencoder, each with its interval over held-out subjects."""
    network = build_autoencoder(plan)
    network.load_state_dict(weights)
    network.eval()
    features = torch.cat([network.encoder.embed(part) for part in people.volumes.split(16)]).numpy()
    tasks = load_tasks()
    told: dict[str, Any] = {"error": _relative_error(network, people)}
    for name, task, values in (("age_r2", "age", people.ages),
                               ("mci_auc", "mci-vs-hc", people.diagnoses)):
        known = np.isin(values, ("HC", "MCI")) if name == "mci_auc" else np.ones(len(values), bool)
        sets = [LabelledSet(features, values, people.subjects, people.sites).only(known & side)
                for side in (~people.is_held_out, people.is_held_out)]
        told[name] = asdict(probe(tasks[task], *sets, seed=0).main)
    return told


def _relative_error(network: MaskedAutoencoder, people: People) -> dict[str, float]:
    """Return the error on hidden patches over that of predicting the mean; below 1 is learnt."""
    volumes = people.volumes[torch.from_numpy(people.is_held_out)]
    noise = torch.rand(len(volumes), network.encoder.places.shape[0],
                       generator=torch.Generator().manual_seed(0))
    pairs = list(zip(volumes.split(16), noise.split(16), strict=True))
    ours = torch.cat([network.masked_loss(*pair) for pair in pairs]).double().numpy()
    trivial = torch.cat([network.trivial_loss(*pair) for pair in pairs]).double().numpy()
    _, persons = np.unique(people.subjects[people.is_held_out], return_inverse=True)
    weights = resample(persons, seed=0)
    drawn = (weights @ ours) / (weights @ trivial)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {"value": float(ours.sum() / trivial.sum()), "low": float(low), "high": float(high)}


def draw(rows: list[dict[str, Any]], untrained: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw each measure over budgets, with the untrained starts as lines."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, 3)
    labels = ("error on hidden patches / predicting the mean", "R² of age", "AUC of MCI against HC")
    for panel, key, label in zip(panels, ("error", "age_r2", "mci_auc"), labels, strict=True):
        for shift, (start, colour) in enumerate((("fresh", "#0072b2"), ("phantom", "#d55e00"))):
            own = [row for row in rows if row["start"] == start]
            places = np.arange(len(own)) + 0.12 * (shift - 0.5)
            values = np.array([row[key]["value"] for row in own])
            spread = np.abs(np.array([[row[key]["low"], row[key]["high"]] for row in own]).T - values)
            panel.errorbar(places, values, spread, fmt="o-", color=colour, capsize=3,
                           label=f"trained from {start} weights")
            panel.axhline(untrained[start][key]["value"], color=colour, linestyle="--", linewidth=1,
                          label=f"{start} weights as they are")
        panel.set_xticks(range(len(EPSILONS)), ["no DP", *(f"ε = {e:g}" for e in EPSILONS[1:])])
        panel.set_title(label, fontsize=9)
    panels[0].legend(fontsize=7)
    figure.savefig(path, dpi=130)


def shown(figure: dict[str, Any]) -> str:
    """Return a figure with its interval."""
    return f"{figure['value']:6.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="next to no training: tries the script")
    parser.add_argument("--out", type=Path, default=Path("runs/dp-utility"), help="an interrupted one "
                        "goes on")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--subjects", type=int, default=100, help="at each site")
    options = parser.parse_args()
    sweep = ("stages.pretrain.rounds=1 stages.pretrain.local_steps=2" if options.quick else
             f"budget.num_subjects={round(0.8 * options.subjects)}")
    plan, out = load_plan(PLAN, sweep), options.out
    torch.set_num_threads(1)
    if not (out / "cohort").exists():
        write_phantom(out / "cohort", sites=NUM_SITES, subjects=NUM_SITES * options.subjects, seed=7)
    quick = "stages.pretrain.rounds=1 stages.pretrain.local_steps=2" if options.quick else ""
    warm = make_warm_start(out / "warm", plan, sweep=quick)
    arms = arms_of(plan)
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        # The slowest first: each takes its draw of subjects and views step by step.
        ordered = sorted(arms, key=lambda arm: arm.noise is None)
        jobs = {arm.name: pool.submit(train, arm, out / "cohort", out / arm.name, warm, sweep)
                for arm in ordered}
        took = {name: job.result() for name, job in jobs.items()}
    people = load_people(out / "cohort", out / "measured", plan)
    untrained = {"fresh": measure(initial_weights(plan, "pretrain"), people, plan),
                 "phantom": measure(load_weights(warm / "pretrain.safetensors"), people, plan)}
    rows = []
    for arm in arms:
        ended = max((out / arm.name / "rounds" / "pretrain").glob("round-*.safetensors"))
        rows.append({"epsilon": "inf" if arm.noise is None else arm.epsilon, "start": arm.start,
                     "noise_multiplier": arm.noise, **took[arm.name],
                     **measure(load_weights(ended), people, plan)})
    draw(rows, untrained, out / "dp_utility.png")
    held = len(np.unique(people.subjects[people.is_held_out]))
    print(f"{NUM_SITES} sites x {options.subjects} subjects, {held} held out\n"
          f"{'arm':>18} {'sigma':>7} {'S/N':>6} {'error / mean':>24} {'age R2':>24} {'MCI AUC':>24}   "
          "phantom-only error, R2, AUC")
    keys = ("error", "age_r2", "mci_auc")
    only = "  ".join(f"{untrained['phantom'][key]['value']:.3f}" for key in keys)
    for name, row in [(f"{start} as it is", untrained[start]) for start in STARTS] + [
            (arm.name, row) for arm, row in zip(arms, rows, strict=True)]:
        sigma, ratios = row.get("noise_multiplier"), [r for r in row.get("signal_to_noise", []) if r]
        print(f"{name:>18} {sigma or 0:7.3f} {np.mean(ratios) if ratios else 0:6.2f} "
              f"" + " ".join(f"{shown(row[key]):>24}" for key in keys) + f"   {only}")
    content = {"subjects": options.subjects, "held_out": held, "arms": rows, "untrained": untrained}
    write_text(out / "dp_utility.json", json.dumps(content, indent=1) + "\n")
    print(json.dumps(content))


if __name__ == "__main__":
    main()
