"""How high the empirical audit's bounds are over seeds, how often it accuses, and how long it takes.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/audit_empirical.py [SEEDS] [STAGE] [ENGINE]
"""

import sys

import numpy as np

from braing3n.audit.empirical.cli import planned_noise
from braing3n.audit.empirical.run import run_audit

STEPS, RATE, DELTA = 60, 0.2, 1e-5


def main(seeds: int = 8, stage: str = "pretrain", engine: str = "loop") -> None:
    canaries = 400 if engine == "loop" else 64
    print(f"{stage}, {engine}, nano, {canaries} canaries, {STEPS} steps, q = {RATE}, {seeds} seeds")
    for claimed in (1.0, 3.0, 8.0):
        noise = planned_noise(stage, claimed, DELTA, RATE, STEPS)
        audits = [run_audit(stage, engine, noise_multiplier=noise, sample_rate=RATE, steps=STEPS,
                            canaries=canaries, delta=DELTA, seed=seed) for seed in range(seeds)]
        print(f"claimed {claimed:g} (noise multiplier {noise:g}): accused "
              f"{sum(not audit.holds for audit in audits)} of {seeds}, "
              f"{np.mean([audit.seconds for audit in audits]):.0f} s each")
        for name in audits[0].bounds:
            found = np.array([audit.bounds[name].epsilon for audit in audits])
            print(f"  {name:18} {found.min():.2f} to {found.max():.2f}, median {np.median(found):.2f}")


if __name__ == "__main__":
    main(*(int(sys.argv[1]),) if len(sys.argv) > 1 else (), *sys.argv[2:])
