"""No input makes a check crash: mutated headers, streams, voxels, tables and sidecars."""

import gzip
import json
import random
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from braing3n.data.findings import Severity
from braing3n.preflight.folder import check_folder
from braing3n.preflight.output import as_json

FAST, SLOW = 60, 600
TABLE = "participant_id\tage\tsex\tsite\nsub-01\t34\tM\tA\nsub-02\t61\tF\tB\n"
SIDECAR = {"Manufacturer": "Siemens", "MagneticFieldStrength": 3, "EchoTime": 0.003,
           "AcquisitionTime": "11:38:47"}
# Numbers that parsers stumble over, in every width of a header's fields.
EDGES = [struct.pack(form, value) for form, values in {
    "<h": (0, -1, 32767, -32768, 4, 8, 512, 4096), "<i": (0, 348, 540, -1, 2**31 - 1),
    "<f": (0.0, -1.0, float("nan"), float("inf"), 1e30, 1e-30, 352.0, 1e9),
    ">i": (348, 540), ">h": (3,),
}.items() for value in values]
PIECES = [b"\0", b"\xff\xfe",
          b"\xef\xbb\xbf", b"\r", b"\r\n", b"\t", b"\"", b",", b";", b"\n\n", b"n/a",
          b"1e999", b"-999", b"{", b"}", b"[" * 50, b"null", b"\\ud800", b"sub-01", b"NaN", b"9" * 400,
          "ü".encode("latin-1"), "漢".encode()]


def _scan() -> bytes:
    x, y, z = np.meshgrid(*(np.linspace(-1.4, 1.4, 18),) * 3, indexing="ij")
    voxels = np.where(x**2 + y**2 + z**2 < 1, 500 + 200 * np.sin(3 * x) + 90 * y, 0)
    image = nib.Nifti1Image(voxels.astype(np.int16), np.diag([10.0, 10, 10, 1]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"made by a test"))
    return image.to_bytes()


SCAN = _scan()


def _mutate(rng: random.Random, content: bytes, *, first: int = 0, last: int | None = None) -> bytes:
    """Change, remove, repeat or insert a few pieces of `content` between `first` and `last`."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        end = min(len(changed), last or len(changed))
        if end <= first:
            break
        place = rng.randrange(first, end)
        match rng.randrange(5):
            case 0:
                changed[place] = rng.randrange(256)
            case 1:
                edge = rng.choice(EDGES)
                changed[place : place + len(edge)] = edge
            case 2:
                del changed[place : place + rng.randint(1, 40)]
            case 3:
                changed[place:place] = rng.choice(PIECES)
            case 4:
                changed[place:place] = changed[place : place + rng.randint(1, 60)]
    return bytes(changed)


def _header(rng: random.Random, folder: Path) -> None:
    edge, changed = rng.choice(EDGES), bytearray(SCAN)
    place = rng.randrange(0, 352)
    changed[place : place + len(edge)] = edge
    content = _mutate(rng, bytes(changed), last=352) if rng.random() < 0.5 else bytes(changed)
    is_plain = rng.random() < 0.5
    name = "sub-01_T1w.nii" if is_plain else "sub-01_T1w.nii.gz"
    (folder / "sub-01/anat/sub-01_T1w.nii.gz").unlink()
    (folder / "sub-01/anat" / name).write_bytes(content if is_plain else gzip.compress(content, 1))


def _stream(rng: random.Random, folder: Path) -> None:
    content = _mutate(rng, gzip.compress(SCAN, 6))
    (folder / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(content)


def _table(rng: random.Random, folder: Path) -> None:
    (folder / "participants.tsv").write_bytes(_mutate(rng, TABLE.encode()))


def _sidecar(rng: random.Random, folder: Path) -> None:
    (folder / "sub-01/anat/sub-01_T1w.json").write_bytes(
        _mutate(rng, json.dumps(SIDECAR).encode()))


def _labels(rng: random.Random, folder: Path) -> None:
    (folder / "sub-01/anat/sub-01_dseg.nii").write_bytes(_mutate(rng, SCAN, last=400))


@pytest.fixture
def folder(tmp_path):
    for subject in ("sub-01", "sub-02"):
        anat = tmp_path / subject / "anat"
        anat.mkdir(parents=True)
        (anat / f"{subject}_T1w.nii.gz").write_bytes(gzip.compress(SCAN, 1))
        (anat / f"{subject}_T1w.json").write_text(json.dumps(SIDECAR))
    (tmp_path / "participants.tsv").write_text(TABLE)
    return tmp_path


def _check_many(damage, folder: Path, cases: int) -> None:
    for seed in range(cases):
        for path in folder.glob("sub-01/anat/*"):
            path.unlink()
        (folder / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(gzip.compress(SCAN, 1))
        damage(random.Random(seed), folder)
        outcome = json.loads(as_json(check_folder(folder)))
        assert outcome["schema"] == 1
        for found in outcome["findings"]:
            assert found["severity"] in list(Severity)
            assert all(isinstance(value, str) for value in found.values())


DAMAGES = [_header, _stream, _table, _sidecar, _labels]


@pytest.mark.parametrize("damage", DAMAGES)
def test_mutated_input_ends_in_findings(damage, folder):
    _check_many(damage, folder, FAST)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_much_mutated_input_ends_in_findings(damage, folder):
    _check_many(damage, folder, SLOW)


def test_the_folder_that_is_mutated_is_sound(folder):
    assert check_folder(folder).holds
