"""Time and memory of writing the embedded cohort; the last line is JSON with the figures."""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from simulation.phantom.write import write_phantom


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once, instead of the best of three")
    repeats = 1 if parser.parse_args().quick else 3
    seconds, volumes = [], 0
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            out = write_phantom(Path(folder) / "cohort", sites=4, subjects=64, voxel_mm=4.0)
            seconds.append(time.perf_counter() - start)
            volumes = len(list(out.rglob("*.nii.gz")))
            print(f"{volumes} volumes in {seconds[-1]:.1f} s", file=sys.stderr)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(json.dumps({
        "subjects": 64, "voxel_mm": 4.0, "volumes": volumes,
        "first_seconds": round(seconds[0], 2), "best_seconds": round(min(seconds), 2),
        "peak_mb": round(peak_mb, 1),
    }))


if __name__ == "__main__":
    main()
