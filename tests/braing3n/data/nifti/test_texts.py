import gzip
import os

import nibabel as nib
import numpy as np

from braing3n.data.nifti.extensions import AFTER_VOXELS, BEFORE_VOXELS, GZIP_NAME
from braing3n.data.nifti.stored import read_nifti
from braing3n.data.nifti.texts import read_texts


def _image(kind=nib.Nifti1Image):
    voxels = np.random.default_rng(0).integers(0, 900, (30, 31, 32)).astype(np.int16)
    image = kind(voxels, np.eye(4))
    image.header["descrip"] = b"a text"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"another"))
    return image


def test_the_texts_of_a_truncated_file_are_read(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(_image().to_bytes())[:20_000])
    header, extensions = read_texts(path)
    assert header["descrip"].item() == b"a text"
    assert [one.content.rstrip(b"\0") for one in extensions] == [b"another"]


def test_what_is_no_nifti_file_has_no_texts(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"x" * 1000)
    (tmp_path / "b.nii.gz").write_bytes(b"\x1f\x8b" + b"x" * 1000)
    os.mkfifo(tmp_path / "c.nii")
    for name in ("a.nii", "b.nii.gz", "c.nii", "none.nii"):
        assert read_texts(tmp_path / name) is None


def test_bytes_around_the_voxels_and_the_name_that_gzip_keeps_are_among_the_extensions(tmp_path):
    path = tmp_path / "a.nii.gz"
    with path.open("wb") as raw, gzip.GzipFile("old.nii", "wb", 6, raw) as out:
        out.write(_image().to_bytes() + b"behind")
    found = dict(read_nifti(path).extensions)
    assert (found[AFTER_VOXELS], found[GZIP_NAME]) == (b"behind", b"old.nii")


def test_bytes_before_the_voxels_of_a_pair_are_among_the_extensions(tmp_path):
    nib.save(_image(nib.Nifti1Pair), tmp_path / "a.hdr")
    block = bytearray((tmp_path / "a.hdr").read_bytes())
    block[108:112] = np.float32(16).tobytes()
    (tmp_path / "a.hdr").write_bytes(block)
    (tmp_path / "a.img").write_bytes(b"before".ljust(16, b"\0") + (tmp_path / "a.img").read_bytes())
    stored = read_nifti(tmp_path / "a.hdr")
    assert dict(stored.extensions)[BEFORE_VOXELS] == b"before".ljust(16, b"\0")
    assert np.array_equal(stored.voxels, np.asanyarray(_image().dataobj))
