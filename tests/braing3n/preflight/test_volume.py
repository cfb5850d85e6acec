import gzip
import io
import struct
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from braing3n.data.tree import describe
from braing3n.preflight.volume import check_other_image, check_scan

MEMORY_LIMIT = 1.5e9
MEASURE = r"""
import re, sys
from pathlib import Path
from braing3n.data.tree import describe
from braing3n.preflight.volume import check_scan
path = Path(sys.argv[1])
report = check_scan(describe(path, path.parent), with_picture=True)
print([found.rule.code for found in report.findings])
# Not ru_maxrss: that begins with the peak of the process which started this one.
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024)
"""


def _header(shape, kind) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(kind)
    header.set_data_shape(shape)
    header.set_sform(np.diag([0.4, 0.4, 0.4, 1]), 1)
    header["pixdim"][1:4] = 0.4
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return header.binaryblock + bytes(4)


def _measured(path: Path) -> tuple[str, float]:
    done = subprocess.run([sys.executable, "-c", MEASURE, path], check=True, capture_output=True,
                          text=True)
    codes, peak = done.stdout.splitlines()
    return codes, float(peak)


def test_a_header_of_512_cubed_float64_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(_header((512, 512, 512), np.float64) + bytes(1000)))
    codes, peak = _measured(path)
    assert codes == "['volume-too-large']"
    assert peak < 0.5e9  # the voxels alone would be 1.1e9


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "kind"), [((500, 500, 500), "u1"), ((480, 500, 500), "<i2"),
                                             ((400, 400, 400), "<f8")])
def test_the_largest_files_stay_within_the_memory_limit(shape, kind, tmp_path):
    x, y = np.meshgrid(np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[0]))
    slices = [(np.where(x**2 + y**2 < 0.8, 100 + 90 * np.sin(4 * x + z / 60), 0)).astype(kind)
              for z in range(shape[2])]
    path = tmp_path / "a.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(_header(shape, np.dtype(kind)))
        for plane in slices:
            stream.write(plane.tobytes(order="F"))
    codes, peak = _measured(path)
    assert "volume-too-large" not in codes
    assert peak < MEMORY_LIMIT


def test_a_report_says_what_the_scan_is(brain, write_scan, tmp_path):
    path = write_scan(tmp_path / "sub-01_T1w.nii.gz", brain)
    report = check_scan(describe(path, tmp_path), with_picture=False)
    assert report.facts is not None
    assert report.facts.shape == (30, 34, 28)
    assert report.facts.voxel_mm == (4.0, 4.0, 4.0)
    assert report.facts.axes == "LAS"
    assert report.facts.background_share == pytest.approx((brain == 0).mean())
    assert sum(report.facts.histogram) <= (brain > 0).sum()
    assert report.facts.picture is None


def test_a_refused_scan_has_no_facts_and_one_finding(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"")
    report = check_scan(describe(tmp_path / "a.nii", tmp_path), with_picture=True)
    assert report.facts is None
    assert [found.rule.code for found in report.findings] == ["file-empty"]


def test_the_picture_shows_the_patients_right_on_the_left(write_scan, tmp_path):
    # A head that is bright on its right side, in front, and at the crown only.
    voxels = np.full((48, 56, 52), 0, np.int16)
    voxels[8:40, 8:48, 8:44] = 100 + np.arange(32)[:, None, None]
    for place in ((slice(30, 40), slice(8, 48), slice(8, 44)),):
        voxels[place] += 400
    path = write_scan(tmp_path / "sub-01_T1w.nii.gz", voxels, affine=np.diag([4.0, 4, 4, 1]))  # RAS
    report = check_scan(describe(path, tmp_path), with_picture=True)
    assert report.facts is not None
    picture = np.asarray(Image.open(io.BytesIO(report.facts.picture or b"")), dtype=float)
    side = picture.shape[0]
    axial, coronal = picture[:, :side], picture[:, side : 2 * side]
    for plane in (axial, coronal):
        assert plane[:, : side // 2].mean() > 1.5 * plane[:, side // 2 :].mean()


def test_an_image_of_another_kind_is_read_to_its_end_without_being_judged(write_scan, brain,
                                                                          tmp_path):
    series = np.repeat(brain[..., None], 3, 3).astype(np.complex64)
    path = write_scan(tmp_path / "sub-01_bold.nii.gz", series)
    assert check_other_image(describe(path, tmp_path)) == ()
    path.write_bytes(path.read_bytes()[:-9])
    assert [found.rule.code for found in check_other_image(describe(path, tmp_path))] == [
        "gzip-truncated"]


def test_a_series_that_is_shorter_than_its_header_says_is_told(write_scan, brain, tmp_path):
    path = write_scan(tmp_path / "sub-01_bold.nii", np.repeat(brain[..., None], 3, 3))
    content = bytearray(path.read_bytes())
    content[48:50] = struct.pack("<h", 4)  # dim[4]
    path.write_bytes(content)
    assert [found.rule.code for found in check_other_image(describe(path, tmp_path))] == [
        "file-short"]


def test_whom_a_refused_scan_names_is_told_with_the_reason(tmp_path):
    image = nib.Nifti1Image(np.full((20, 20, 20), 7, np.int16), np.eye(4))
    image.header["descrip"] = b"DOE^JANE"
    path = tmp_path / "sub-01_T1w.nii.gz"
    nib.save(image, path)
    entry = describe(path, tmp_path)
    assert [one.rule.code for one in check_scan(entry, with_picture=False).findings] == [
        "voxels-constant", "identity-header"]
    path.write_bytes(path.read_bytes()[:-20])
    assert [one.rule.code for one in check_other_image(entry)] == ["gzip-truncated", "identity-header"]
