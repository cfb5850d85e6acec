"""Many sites on one machine: memory of all processes together, seconds a round, processes left over.

    python benchmarks/many_sites.py [--sites 200] [--rounds 3] [--out DIR]

The smallest cohort that works: one phantom, whose subjects are dealt out so that each site has as
many as a site must have to be trained on. Runs `braing3n sim run` as a user does, nano, with few local
steps, and ends with one JSON line.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from braing3n.data.examples import MIN_SUBJECTS_FOR_MOMENTS
from braing3n.files import write_text
from braing3n.service.processes import memory_mb, processes_of
from simulation.phantom.write import write_phantom
from simulation.run import PLANS

VARIABLE = "BRAING3N_BENCHMARK"
EVERY_S = 2.0


def deal(cohort: Path, sites: int, out: Path) -> Path:
    """Write a partition in which each site has the fewest subjects, by links to one phantom's scans.

    Sites share subjects where the phantom has too few: what is measured is the machinery.
    """
    scans = [sorted(subject.rglob("*_T1w.nii.gz"))[:1] for subject in sorted(cohort.glob("*/sub-*"))]
    paths = [found[0].resolve() for found in scans if found]
    for number in range(sites):
        name = f"site-{number:03d}"
        rows = [f"sub-{(number * MIN_SUBJECTS_FOR_MOMENTS + k):04d}\tn/a\t"
                f"{paths[(number * MIN_SUBJECTS_FOR_MOMENTS + k) % len(paths)]}\tT1w"
                for k in range(MIN_SUBJECTS_FOR_MOMENTS)]
        write_text(out / "sites" / f"{name}.tsv",
                   "\n".join(["subject\tsession\tpath\tmodality", *rows]) + "\n", is_durable=False)
        write_text(out / "sites" / f"{name}.yaml",
                   f"name: {name}\ndata: {{table: {name}.tsv}}\nstate_dir: {name}-state\n",
                   is_durable=False)
    write_text(out / "partition.json", json.dumps({"sites": sites}) + "\n")
    return out


def measure(partition: Path, out: Path, sweep: str, extra: list[str]) -> dict[str, object]:
    """Run the command and look at all its processes, wherever they put themselves."""
    mark = uuid.uuid4().hex
    command = [str(Path(sys.executable).with_name("braing3n")), "sim", "run", "--partition",
               str(partition), "--out", str(out), "--sweep", sweep, *extra]
    peak_mb, began = 0.0, time.monotonic()
    with subprocess.Popen(command, env={**os.environ, VARIABLE: mark}, cwd=out.parent) as process:
        while process.poll() is None:
            peak_mb = max(peak_mb, memory_mb(processes_of(Path(mark), VARIABLE)))
            time.sleep(EVERY_S)
    seconds = time.monotonic() - began
    time.sleep(3)
    record = json.loads((out / "run.json").read_text())
    rounds = {stage["name"]: [entry["seconds"] for entry in stage["participation"]]
              for stage in record["stages"]}
    return {
        "status": record["status"][:200], "exit_code": process.returncode,
        "sites": len(record["sites"]), "peak_memory_mb": round(peak_mb), "seconds": round(seconds),
        "parallel": record["simulation"]["parallel"],
        "seconds_a_round": {stage: [round(value, 1) for value in values]
                            for stage, values in rounds.items()},
        "processes_left": len(processes_of(Path(mark), VARIABLE)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sites", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--subjects", type=int, default=60, help="of the phantom that sites share")
    parser.add_argument("--out", type=Path, help="keep what is written here")
    parser.add_argument("--parallel", type=int)
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="braing3n-many-"))
    sweep = " ".join(f"stages.{stage}.{key}" for stage in ("pretrain", "decoder", "diffusion")
                     for key in (f"rounds={options.rounds}", f"local_steps={options.steps}",
                                 "batch_size=2"))
    try:
        cohort = folder / "phantom"
        if not cohort.exists():
            write_phantom(cohort, sites=1, subjects=options.subjects)
        partition = folder / "partition"
        if not partition.exists():
            deal(cohort, options.sites, partition)
        extra = [] if options.parallel is None else ["--parallel", str(options.parallel)]
        sweep = f"name=many stages.diffusion.sampling_steps=2 {sweep}"
        found = measure(partition, folder / "run", sweep,
                        ["--plan", str(PLANS / "demo.yaml"), *extra])
        print(json.dumps(found))
    finally:
        if options.out is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
