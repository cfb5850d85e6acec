"""How long it takes to index a BIDS tree of 35,000 volumes, and what becomes of odd files in it.

Our own reader next to three that others maintain, each in a process of its own:

    python -m venv other && other/bin/pip install bids2table ancpbids pybids
    python benchmarks/bids.py --python other/bin/python [--volumes 2000] [--minutes 10]

A tree is generated and removed again: two sessions a subject, T1w and T2w in each (empty files), a
sidecar for every volume, one for all T1w at the root, participants.tsv, and a sessions.tsv for every
subject. "index" lists every volume with its session; "with sidecars" also takes the field strength from
all sidecars that apply to it, and for `open_cohort` the tables' rows. Each is one run. Files are in the
system's cache, as they have just been written. The second table has one small dataset a row, with
one oddity each; a reader tells of a file if it returns its path apart from scans, raises or logs it.
Ends with one JSON line.
"""

import argparse
import importlib
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Only the standard library is imported here: this file also runs in the other environment.
STRENGTH = "MagneticFieldStrength"
TESLA = {"T1w": 1.5, "T2w": 3}
Found = dict[str, tuple[Any, Any]]  # path below the root: session, field strength


def read_ours(root: Path, with_sidecars: bool) -> tuple[Found, list[str]]:
    bids = importlib.import_module("braing3n.data.bids")
    scans, others = bids.find_scans(root)
    sidecars = importlib.import_module("braing3n.data.sidecar").Sidecars(root)
    found = {str(scan.path.relative_to(root)):
             (scan.session, sidecars.of(scan.path).get(STRENGTH) if with_sidecars else None)
             for scan in scans}
    return found, [str(path) for path in (*others, *sidecars.damaged)]


def read_cohort(root: Path, _: bool) -> tuple[Found, list[str]]:
    config = importlib.import_module("braing3n.config").DataConfig(folder=root)
    cohort = importlib.import_module("braing3n.data.cohort").open_cohort(config)
    return {str(volume.path.relative_to(root)): (volume.session, volume.conditions.field_strength)
            for volume in cohort.volumes}, list(cohort.notes)


def read_bids2table(root: Path, with_sidecars: bool) -> tuple[Found, list[str]]:
    bids2table = importlib.import_module("bids2table")
    table = bids2table.index_dataset(root)
    found = {}
    for row in table.select(["path", "ses"]).to_pylist():
        if ".nii" in row["path"].lower():
            fields = bids2table.load_bids_metadata(root / row["path"]) if with_sidecars else {}
            found[row["path"]] = (row["ses"], fields.get(STRENGTH))
    return found, []


def read_ancpbids(root: Path, with_sidecars: bool) -> tuple[Found, list[str]]:
    layout = importlib.import_module("ancpbids.pybids_compat").BIDSLayout(str(root))
    found = {}
    for file in layout.get(return_type="object"):
        if ".nii" in file.name.lower():
            is_parsed = hasattr(file, "entities")
            fields = file.get_metadata() if with_sidecars and is_parsed else {}
            session = file.entities.get("ses") if is_parsed else None
            path = os.path.relpath(file.get_absolute_path(), root)
            found[path] = (session, fields.get(STRENGTH))
    return found, []


def read_pybids(root: Path, with_sidecars: bool) -> tuple[Found, list[str]]:
    bids = importlib.import_module("bids")
    # Validation would demand a description, and leave out what has another name.
    indexer = bids.BIDSLayoutIndexer(validate=False, index_metadata=with_sidecars)
    layout = bids.BIDSLayout(root, validate=False, indexer=indexer)
    return {os.path.relpath(file.path, root): (file.entities.get("session"),
                                               file.entities.get(STRENGTH))
            for file in layout.get() if ".nii" in file.path.lower()}, []


READERS: dict[str, Callable[[Path, bool], tuple[Found, list[str]]]] = {
    "find_scans": read_ours, "open_cohort": read_cohort, "bids2table": read_bids2table,
    "ancpbids": read_ancpbids, "pybids": read_pybids,
}
OURS = ("find_scans", "open_cohort")


def write_tree(root: Path, volumes: int) -> None:
    """Write about as many volumes, four a subject."""
    sidecar = {"Modality": "MR", "Manufacturer": "Siemens", "EchoTime": 0.00298,
               "RepetitionTime": 2.3, "FlipAngle": 9, "ConversionSoftware": "dcm2niix",
               **{f"Field{number}": "a value of some length" for number in range(24)}}
    texts = {"T1w": json.dumps(sidecar, indent=2),
             "T2w": json.dumps({**sidecar, STRENGTH: TESLA["T2w"]}, indent=2)}
    subjects = [f"sub-{number:05d}" for number in range(max(1, volumes // 4))]
    (root / "dataset_description.json").write_text('{"Name": "many", "BIDSVersion": "1.10.0"}')
    (root / "T1w.json").write_text(json.dumps({STRENGTH: TESLA["T1w"]}))
    (root / "T2w.json").write_text(json.dumps({STRENGTH: 7}))  # each volume's own is nearer
    (root / "participants.tsv").write_text("participant_id\tage\tsex\n" + "".join(
        f"{subject}\t{20 + number % 60}\t{'MF'[number % 2]}\n"
        for number, subject in enumerate(subjects)))
    for subject in subjects:
        for session in ("ses-1", "ses-2"):
            anat = root / subject / session / "anat"
            anat.mkdir(parents=True)
            for suffix, text in texts.items():
                (anat / f"{subject}_{session}_{suffix}.nii.gz").touch()
                (anat / f"{subject}_{session}_{suffix}.json").write_text(text)
        (root / subject / f"{subject}_sessions.tsv").write_text(
            "session_id\tage\nses-1\t50\nses-2\t51.5\n")


def write_odd(root: Path) -> dict[str, str]:
    """Write a dataset for each oddity, and return the part of a path that must not be lost."""
    scan = "sub-02/anat/sub-02_T1w.nii.gz"
    names = {
        "upper-case ending": "sub-02/anat/sub-02_T1w.NII.GZ",
        "copy suffix": "sub-02/anat/sub-02_T1w (1).nii.gz",
        "umlaut in the name": "sub-02/anat/sub-02_Müller_T1w.nii.gz",
        "umlaut in the folder": "sub-02_Müller/anat/sub-02_Müller_T1w.nii.gz",
        "no dataset description": scan, "dataset named v1.2": scan, "dangling link": scan,
        "linked subject": scan, "circle of links": scan, "folder that cannot be read": scan,
        "damaged sidecar": scan, "sidecar not in UTF-8": scan, "sidecar nested 10,000 deep": scan,
    }
    for oddity, name in names.items():
        for path in (root / oddity / "sub-01/anat/sub-01_T1w.nii.gz", root / oddity / name):
            path.parent.mkdir(parents=True)
            path.touch()
        (root / oddity / "dataset_description.json").write_text(
            '{"Name": "odd", "BIDSVersion": "1.10.0"}')
        (root / oddity / "T1w.json").write_text(json.dumps({STRENGTH: TESLA["T1w"]}))
    _damage(root, scan)
    return {oddity: name.split("/")[0] if "folder" in oddity else
            Path(name).name.partition(".nii")[0] for oddity, name in names.items()}


def _damage(root: Path, scan: str) -> None:
    (root / "no dataset description/dataset_description.json").unlink()
    (root / "dangling link" / scan).unlink()
    (root / "dangling link" / scan).symlink_to("nowhere.nii.gz")
    (root / "linked subject/sub-02").rename(root / "elsewhere")
    (root / "linked subject/sub-02").symlink_to(root / "elsewhere", target_is_directory=True)
    for name in ("again", "more"):
        (root / "circle of links/sub-02" / name).symlink_to("..", target_is_directory=True)
    (root / "folder that cannot be read/sub-02").chmod(0)
    for oddity, content in (("damaged sidecar", b"{not json"),
                            ("sidecar not in UTF-8", b'{"a": "\xfc"}'),
                            ("sidecar nested 10,000 deep", b'{"a": ' + b"[" * 10_000)):
        (root / oddity / scan.replace(".nii.gz", ".json")).write_bytes(content)


def child(reader: str, root: Path, with_sidecars: bool) -> None:
    """Read a tree and print what was found."""
    logging.basicConfig(level=logging.WARNING)
    if "cannot be read" in root.name and os.geteuid() == 0:
        READERS[reader](root, with_sidecars)  # imports all that it needs
        os.seteuid(65534)  # root may read every folder, so it becomes nobody
    start = time.perf_counter()
    found, told = READERS[reader](root, with_sidecars)
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    sessions = sum(str(session or "").removeprefix("ses-") == "".join(re.findall(r"/ses-(.)/", path))
                   for path, (session, _) in found.items())
    strengths = sum(str(tesla).removesuffix("T") == str(TESLA["T1w" if "T1w" in path else "T2w"])
                    for path, (_, tesla) in found.items())
    print(json.dumps({"seconds": round(seconds, 2), "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
                      "peak_mb": round(usage.ru_maxrss / 1024),  # KiB on Linux
                      "volumes": len(found), "sessions": sessions, "strengths": strengths,
                      "told": told, "paths": [path for path in found if "sub-02" in path][:9]}))


def start_child(python: str, reader: str, root: Path, seconds: float, with_sidecars: bool = True,
                ) -> tuple[dict[str, Any] | None, str]:
    """Return what a reader found, or None and what it wrote."""
    # -P: this file is called as one of the packages that it imports.
    command = [python, "-P", __file__, "--child", reader, "--root", str(root)]
    try:
        done = subprocess.run(command + ["--sidecars"] * with_sidecars, capture_output=True,
                              timeout=seconds, encoding="utf-8", errors="replace", check=False)
    except subprocess.TimeoutExpired:
        return None, f"over {seconds:.0f} s"
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None, done.stderr


def fate(reader: str, python: str, dataset: Path, needle: str) -> str:
    """Return what became of the odd file or folder of a small dataset."""
    result, written = start_child(python, reader, dataset, 20)
    if result is None:
        return "hangs" if written.startswith("over") else "stops"
    told = needle in " ".join(result["told"]) + written
    if "sidecar" in dataset.name:
        return "told" if told else "silent"
    if any(needle in path for path in result["paths"]):
        return "read" if result["strengths"] == result["volumes"] == 2 else "no sidecar"
    return "told" if told else "lost" if result["volumes"] else "all lost"


def version(python: str, reader: str) -> str | None:
    """Return the installed version, or None."""
    if reader in OURS:
        return "ours"
    code = f"import importlib.metadata as m; print(m.version({reader!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def measure(root: Path, pythons: dict[str, str], seconds: float, figures: dict[str, Any]) -> None:
    """Time every reader on a large tree."""
    print(f"{'reader':14}{'index s':>9}{'with sidecars s':>17}{'CPU s':>8}{'/ ours':>8}{'peak MB':>9}"
          f"{'volumes':>9}{'sessions':>10}{'strengths':>11}")
    ours = 0.0  # the CPU time, which other work on the machine changes least
    for reader, python in pythons.items():
        index = None
        if reader != "open_cohort":
            index, _ = start_child(python, reader, root, seconds, with_sidecars=False)
        whole, written = start_child(python, reader, root, seconds)
        listed = f"{index['seconds']:.1f}" if index else "-"
        figures[reader] = {"index_s": index and index["seconds"]}
        if whole is None:
            print(f"{reader:14}{listed:>9}  {(written.splitlines() or ['nothing'])[-1]}", flush=True)
            continue
        figures[reader] |= {key: whole[key] for key in list(whole)[:6]}
        ours = ours or whole["cpu_s"]
        print(f"{reader:14}{listed:>9}{whole['seconds']:17.1f}{whole['cpu_s']:8.1f}"
              f"{whole['cpu_s'] / ours:8.1f}{whole['peak_mb']:9}{whole['volumes']:9}"
              f"{whole['sessions']:10}{whole['strengths']:11}", flush=True)


def main() -> None:
    options = _options()
    if options.child:
        child(options.child, options.root, options.sidecars)
        return
    pythons = {reader: sys.executable if reader in OURS else options.python for reader in READERS}
    for reader in list(pythons):
        number = version(pythons[reader], reader)
        print(f"{reader}: {number or 'not installed there, skipped'}")
        if number is None:
            del pythons[reader]
    figures: dict[str, Any] = {"benchmark": "bids", "volumes": options.volumes}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        write_tree(Path(folder), options.volumes)
        measure(Path(folder), pythons, 60 * options.minutes, figures)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        odd = write_odd(Path(folder))
        print(f"\n{'oddity':30}" + "".join(f"{reader:>13}" for reader in pythons))
        for oddity, needle in odd.items():
            row = [fate(reader, python, Path(folder) / oddity, needle)
                   for reader, python in pythons.items()]
            figures[oddity] = dict(zip(pythons, row, strict=True))
            print(f"{oddity:30}" + "".join(f"{cell:>13}" for cell in row), flush=True)
        (Path(folder) / "folder that cannot be read/sub-02").chmod(0o755)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="with the other readers installed")
    parser.add_argument("--volumes", type=int, default=35_000)
    parser.add_argument("--minutes", type=float, default=10, help="at most, for a run of a reader")
    parser.add_argument("--child", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sidecars", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
