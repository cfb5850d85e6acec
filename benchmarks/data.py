"""Reading training volumes: our cache, MONAI's PersistentDataset, and no cache; as ratios.

    python benchmarks/data.py [--quick] [--preset nano]

Then, unless --quick is given, the speed of `braing3n check` (see check.py beside this file).

All three run the same transforms: `load_scan` and `preprocess` at one preset, on scans of 1 mm
voxels. What is timed is one pass over all volumes, each as a float32 tensor in a batch. The passes
take turns, so that what else the machine does falls on all alike; files are warm in the page
cache. Ours is timed as it is by default, and encrypted. Ends with one JSON line.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from check import measure_all
from monai.data import PersistentDataset
from monai.transforms import Transform
from torch import Tensor

from braing3n.config import CacheConfig, DataConfig, SiteConfig
from braing3n.data.envelope import write_key
from braing3n.data.preprocess import preprocess
from braing3n.data.reading import load_scan
from braing3n.data.site_data import open_site_data
from braing3n.presets import PRESETS, Preset
from simulation.phantom.write import write_phantom

BATCH = 8

Read = Callable[[], Tensor]


class Preprocess(Transform):
    """Our chain as one of MONAI's transforms: PersistentDataset keeps the results of no others."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset

    def __call__(self, data: str) -> Tensor:
        """Return the (X, Y, Z) float16 voxels of a scan: what both caches keep."""
        return torch.from_numpy(preprocess(load_scan(Path(data)), self.preset))


def in_batches(num_volumes: int, get: Callable[[int], Tensor]) -> Tensor:
    """Read all volumes in batches of float32, as `SiteData.volumes` returns them."""
    for start in range(0, num_volumes, BATCH):
        items = [get(index) for index in range(start, min(start + BATCH, num_volumes))]
        batch = torch.empty((len(items), 1, *items[0].shape))
        for row, item in zip(batch, items, strict=True):
            row[0] = item
    return batch


def our_cache(cohort: Path, folder: Path, preset: Preset, *, is_encrypted: bool) -> Read:
    """Return a pass over a site's volumes from its cache, which is full."""
    cache = CacheConfig()
    if is_encrypted:
        write_key(folder.with_suffix(".key"))
        cache = CacheConfig(encrypt=True, key_file=folder.with_suffix(".key"))
    site = SiteConfig(name="a", data=DataConfig(folder=cohort), state_dir=folder, cache=cache)
    data = open_site_data(site, preset)
    examples = sorted(data.train + data.held_out, key=lambda e: data.paths[e.key])

    def read() -> Tensor:
        for start in range(0, len(examples), BATCH):
            batch = data.volumes(examples[start:start + BATCH])
        return batch

    return read


def persistent_dataset(paths: Sequence[Path], folder: Path, preset: Preset) -> Read:
    """Return a pass over the volumes from MONAI's cache, which is full."""
    dataset = PersistentDataset([str(path) for path in paths], Preprocess(preset), cache_dir=folder)
    for index in range(len(paths)):
        dataset[index]
    if len(list(folder.glob("*.pt"))) != len(paths):
        raise SystemExit("PersistentDataset has not cached every volume")
    return lambda: in_batches(len(paths), lambda index: dataset[index])


def seconds_per_volume(read: Read, num_volumes: int) -> float:
    start = time.perf_counter()
    read()
    return (time.perf_counter() - start) / num_volumes


def measure(folder: Path, preset: Preset, subjects: int, repeats: int, passes: int,
            ) -> dict[str, float]:
    """Return medians of interleaved passes, in milliseconds a volume, and medians of ratios."""
    print(f"making {subjects} subjects of 1 mm voxels", flush=True)
    cohort = write_phantom(folder / "cohort", sites=1, subjects=subjects, voxel_mm=1.0) / "site-a"
    paths = sorted(cohort.rglob("anat/*.nii.gz"))
    reads = {
        "ours": our_cache(cohort, folder / "open", preset, is_encrypted=False),
        "ours_encrypted": our_cache(cohort, folder / "sealed", preset, is_encrypted=True),
        "persistent_dataset": persistent_dataset(paths, folder / "monai", preset),
    }
    last = [read() for read in reads.values()]
    if not all(torch.equal(batch, last[0]) for batch in last):
        raise SystemExit("the caches do not return the same volumes")
    chain = Preprocess(preset)
    times: dict[str, list[float]] = {name: [] for name in (*reads, "uncached")}
    for repeat in range(repeats):
        for _ in range(passes):
            for name, read in reads.items():
                times[name].append(seconds_per_volume(read, len(paths)))
        # One pass without a cache takes as long as a thousand with one.
        times["uncached"].append(seconds_per_volume(
            lambda: in_batches(len(paths), lambda index: chain(str(paths[index]))), len(paths)))
        print(f"repeat {repeat + 1} of {repeats}", flush=True)
    theirs = np.array(times["persistent_dataset"])
    figures = {f"{name}_ms": 1e3 * float(np.median(values)) for name, values in times.items()}
    for name in ("ours", "ours_encrypted"):
        figures[f"{name}_over_persistent_dataset"] = float(np.median(theirs / np.array(times[name])))
        figures[f"{name}_over_uncached"] = figures["uncached_ms"] / figures[f"{name}_ms"]
    figures["encryption_cost"] = float(
        np.median(np.array(times["ours_encrypted"]) / np.array(times["ours"])))
    return {"volumes": len(paths)} | figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few volumes and passes")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="nano")
    options = parser.parse_args()
    torch.set_num_threads(1)
    subjects, repeats, passes = (2, 2, 10) if options.quick else (8, 5, 40)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), PRESETS[options.preset], subjects, repeats, passes)
    for name, figure in figures.items():
        print(f"{name:36}{figure:10.3f}")
    checks = {} if options.quick else measure_all()
    print(json.dumps({"benchmark": "data", "preset": options.preset, "page_cache": "warm",
                      "quick": options.quick, "check": checks,
                      **{name: round(figure, 4) for name, figure in figures.items()}}))


if __name__ == "__main__":
    main()
