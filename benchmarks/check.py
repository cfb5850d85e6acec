"""Speed of `braing3n check`, beside nibabel reading the same files.

    python benchmarks/check.py

Scans are the real ones of the test material (`BRAING3N_TEST_DATA`): the mini-cohort at 3 mm, and
copies of a scan at native resolution. The reference reads each file with `nibabel.load`, turns
all voxels into float32 and looks for numbers that are none: the least that any loader does. It
uses as many threads. Passes take turns. Ends with one JSON line.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np

from braing3n.preflight.folder import check_folder
from braing3n.preflight.outcome import Wishes

NATIVE = ("real/ds002748_sub-52_T1w_native.nii.gz", "formats/nilearn_mni152_t1_1mm_uint8.nii.gz")
COPIES = 4
REPEATS = 3


def test_material() -> Path | None:
    """Return the folder of real scans, or None where there is none."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("BRAING3N_TEST_DATA", default)).resolve() / "nifti"
    return folder if folder.is_dir() else None


def by_nibabel(paths: list[Path]) -> None:
    """Read every voxel of every file."""
    def read(path: Path) -> bool:
        return bool(np.isfinite(nib.load(path).get_fdata(dtype=np.float32, caching="unchanged")).all())

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        if not all(pool.map(read, paths)):
            raise SystemExit("a scan of the test material is not finite")


def measure(name: str, folder: Path, check: Callable[[], object]) -> dict[str, float]:
    """Return volumes a second of a check and of the reference, medians of interleaved passes."""
    paths = sorted(path for path in folder.rglob("*.nii.gz") if "derivatives" not in path.parts)
    seconds: dict[str, list[float]] = {"check": [], "nibabel": []}
    for repeat in range(REPEATS + 1):
        for what, run in (("check", check), ("nibabel", lambda: by_nibabel(paths))):
            start = time.perf_counter()
            run()
            if repeat:  # the first pass fills the page cache and imports
                seconds[what].append(time.perf_counter() - start)
    rates = {what: len(paths) / float(np.median(times)) for what, times in seconds.items()}
    print(f"{name}: {len(paths)} volumes, check {rates['check']:.1f} a second, nibabel "
          f"{rates['nibabel']:.1f}: ratio {rates['check'] / rates['nibabel']:.2f}")
    return rates


def measure_all() -> dict[str, dict[str, float]]:
    """Measure both kinds of scans; nothing where there is no test material."""
    material = test_material()
    if material is None:
        print("check: not measured, there is no test material (set BRAING3N_TEST_DATA)")
        return {}
    sites = [material / "minicohort" / site for site in ("site-nsk", "site-hh")]
    with tempfile.TemporaryDirectory() as scratch:
        native = Path(scratch)
        for number in range(COPIES):
            for source in NATIVE:
                name = f"sub-{number}{Path(source).name[0]}_T1w.nii.gz"
                shutil.copy(material / source, native / name)
        small = measure("mini-cohort, 3 mm", material / "minicohort",
                        lambda: [check_folder(site) for site in sites])
        large = measure("native, 1 mm and finer", native, lambda: check_folder(native))
        page = measure("native, with pictures", native,
                       lambda: check_folder(native, Wishes(with_pictures=True)))
    return {"mini_cohort": small, "native": large, "native_with_pictures": page}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    print(json.dumps(measure_all()))


if __name__ == "__main__":
    main()
