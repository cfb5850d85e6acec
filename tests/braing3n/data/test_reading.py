import gzip
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from braing3n.data.findings import RefusedScanError
from braing3n.data.reading import load_scan, scan_files
from braing3n.errors import ScanError


def test_a_scan_is_read_as_nibabel_reads_it(write_scan, brain, tmp_path):
    scan = load_scan(write_scan(tmp_path / "a.nii.gz"))
    assert scan.voxels.dtype == np.float32
    np.testing.assert_array_equal(scan.voxels, brain)
    np.testing.assert_array_equal(scan.affine, np.diag([-4.0, 4, 4, 1]))


def test_the_digest_changes_with_the_bytes(write_scan, tmp_path):
    one, two = (load_scan(write_scan(tmp_path / f"{s}.nii", seed=s)).digest for s in (1, 2))
    assert one != two
    assert one == load_scan(write_scan(tmp_path / "again.nii", seed=1)).digest


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i2", "u1", "f4", "f8"])
def test_both_versions_pairs_byte_orders_and_types_are_read(kind, order, dtype, brain, tmp_path):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    ending = "hdr" if kind is nib.Nifti1Pair else "nii"
    voxels = (brain / 4).astype(dtype)
    nib.save(kind(voxels, np.diag([2.0, 3, 4, 1]), header), tmp_path / f"a.{ending}")
    scan = load_scan(tmp_path / f"a.{ending}")
    expected = nib.load(tmp_path / f"a.{ending}").get_fdata(dtype=np.float32)
    np.testing.assert_allclose(scan.voxels, expected, rtol=1e-6)


def test_either_half_of_a_pair_names_the_scan(brain, tmp_path):
    nib.save(nib.Nifti1Pair(brain, np.eye(4)), tmp_path / "a.img")
    assert scan_files(tmp_path / "a.img") == (tmp_path / "a.hdr", tmp_path / "a.img")
    assert load_scan(tmp_path / "a.img").digest == load_scan(tmp_path / "a.hdr").digest


def test_slope_and_intercept_are_applied(write_scan, brain, tmp_path):
    path = write_scan(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", 0.5, 3100.0)
    path.write_bytes(content)
    np.testing.assert_allclose(load_scan(path).voxels, brain * 0.5 + 3100.0)


def test_gzip_is_told_by_its_bytes_and_a_trailing_axis_of_one_is_dropped(write_scan, brain,
                                                                         tmp_path):
    path = write_scan(tmp_path / "a.nii.gz", brain[..., None])
    path = path.rename(tmp_path / "a.nii")
    assert load_scan(path).voxels.shape == brain.shape


def test_units_of_metres_are_turned_into_millimetres(brain, tmp_path):
    image = nib.Nifti1Image(brain, np.diag([0.003, 0.003, 0.003, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(load_scan(tmp_path / "a.nii").affine[:3, :3], np.eye(3) * 3,
                               rtol=1e-6)


def test_a_wrong_checksum_is_noticed(write_scan, tmp_path):
    path = write_scan(tmp_path / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    assert _refused_by(path) == "gzip-damaged"


def test_a_huge_header_is_refused_before_memory_is_taken(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((4000, 4000, 4000))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4))
    assert _refused_by(tmp_path / "a.nii") == "volume-too-large"


@pytest.mark.parametrize(("make", "code"), [
    (lambda v: v[:, :, :7], "slices-few"),
    (lambda v: v[:, :, 3], "shape-not-3d"),
    (lambda v: np.repeat(v[..., None], 2, 3), "shape-not-3d"),
    (lambda v: v.astype(np.complex64), "type-not-intensity"),
    (lambda v: np.where(v > 480, np.nan, v).astype(np.float32), "voxels-not-finite"),
    (lambda v: np.where(v > 480, np.inf, v).astype(np.float32), "voxels-not-finite"),
    (lambda v: np.full(v.shape, 7, np.int16), "voxels-constant"),
    (lambda v: (v > 450).astype(np.uint8), "voxels-few-values"),
    (lambda v: np.where(v > 0, v // 10, -1000).astype(np.int16), "voxels-ct"),
    (lambda v: np.random.default_rng(0).integers(0, 999, v.shape, dtype=np.int16), "voxels-noise"),
])
def test_what_is_no_volume_of_intensities_is_refused(make, code, brain, write_scan, tmp_path):
    assert _refused_by(write_scan(tmp_path / "a.nii.gz", make(brain))) == code


@pytest.mark.parametrize(("kind", "offset", "change"), [
    (nib.Nifti1Image, 0, b"\0\0\x01\x5c"), (nib.Nifti2Image, 0, b"\0\0\x02\x1c"),
    (nib.Nifti2Image, 8, b"\n\n\x1a\n"),
])
def test_a_header_that_contradicts_itself_is_refused(kind, offset, change, brain, tmp_path):
    content = bytearray(kind(brain, np.diag([4.0, 4, 4, 1])).to_bytes())
    content[offset : offset + len(change)] = change
    (tmp_path / "a.nii").write_bytes(content)
    assert _refused_by(tmp_path / "a.nii") == "nifti-header"


@pytest.mark.parametrize(("content", "hint"), [
    (b"", "copy or convert"), (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    (b"/annex/objects/MD5E-s8196--4df1a0.nii.gz\n", "git annex get"),
    (b"\n <!DOCTYPE html>", "download the scan again"), (b"n+1" * 500, "convert the scan"),
    # Without a time, as a test is named after its bytes and every worker has to name it alike.
    (gzip.compress(b"\x5c\x01\x00\x00", mtime=0), "convert the scan"),
    (b"\x1f\x8b\x08\x00junk", "copy"),
])
def test_a_file_that_is_no_scan_gets_a_hint(content, hint, tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(content)
    with pytest.raises(ScanError, match=hint):
        load_scan(path)


def test_a_scan_cut_anywhere_is_refused_without_another_error(write_scan, tmp_path):
    whole = {ending: write_scan(tmp_path / f"a.{ending}").read_bytes()
             for ending in ("nii", "nii.gz")}
    for ending, content in whole.items():
        for share in np.linspace(0, 0.999, 30):
            path = tmp_path / f"cut.{ending}"
            path.write_bytes(content[: int(len(content) * share)])
            assert _refused_by(path) in {"file-empty", "nifti-header", "file-short",
                                         "gzip-truncated"}


def test_random_damage_to_the_header_never_ends_in_another_error(write_scan, tmp_path):
    rng = np.random.default_rng(0)
    content = write_scan(tmp_path / "a.nii").read_bytes()
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, 352, size=4):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "b.nii").write_bytes(damaged)
        try:
            assert np.isfinite(load_scan(tmp_path / "b.nii").voxels).all()
        except ScanError as error:
            assert "b.nii" in str(error)


def test_a_missing_file_and_a_dangling_link_are_told_apart(tmp_path):
    with pytest.raises(ScanError, match="no such file"):
        load_scan(tmp_path / "no.nii")
    (tmp_path / "link.nii").symlink_to("../annex/gone.nii")
    with pytest.raises(ScanError, match=r"annex/gone\.nii"):
        load_scan(tmp_path / "link.nii")


def test_a_pipe_in_place_of_a_scan_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.nii.gz")
    assert _refused_by(tmp_path / "a.nii.gz") == "file-unreadable"


def _refused_by(path: Path) -> str:
    with pytest.raises(RefusedScanError) as caught:
        load_scan(path)
    return caught.value.finding.rule.code
