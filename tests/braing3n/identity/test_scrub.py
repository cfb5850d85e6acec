import errno
import gzip
import json
import os
import random
import shutil
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from braing3n.data.nifti.extensions import TEXT_FIELDS, read_extensions
from braing3n.data.nifti.stored import read_nifti
from braing3n.data.tree import Kind
from braing3n.errors import OutputError, ScanError
from braing3n.identity import clean_file
from braing3n.identity import scrub as module
from braing3n.identity.clean_file import Reason
from braing3n.identity.clean_scan import copy_scan
from braing3n.identity.findings import (
    header_findings,
    is_dicom,
    name_identity,
    sidecar_identity,
    table_identity,
)
from braing3n.identity.scrub import scrub


def copy(source, target):
    return copy_scan((source,), (target,))


COMMENT = nib.nifti1.Nifti1Extension("comment", b"seen by DOE^JANE")


def write_named(path, *, kind=nib.Nifti1Image, dtype=np.int16, shape=(20, 21, 22), header=None):
    """Write random voxels under a header full of texts, with an extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = np.random.default_rng(len(str(path)))
    voxels = source.integers(0, 200, shape).astype(dtype)
    image = kind(voxels, np.diag([-2.0, 2, 2, 1]), header)
    image.header["descrip"], image.header["aux_file"] = b"DOE^JANE 19660101", b"Doe_Jane"
    image.header["intent_name"] = b"Dr Example"
    if "db_name" in image.header:
        image.header["db_name"], image.header["data_type"] = b"MRN0012345", b"MRN12345"
    else:
        image.header["unused_str"] = b"DOE^JANE"
    image.header.extensions.append(COMMENT)
    nib.save(image, path)
    return path


@pytest.fixture
def site(tmp_path):
    """A small data set with something of every kind."""
    root = tmp_path / "data"
    for subject in ("01", "02"):
        write_named(root / f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz")
    write_named(root / "sub-02/anat/sub-02_FLAIR.hdr", kind=nib.Nifti1Pair)
    write_named(root / "derivatives/sub-01/anat/sub-01_dseg.nii", kind=nib.Nifti2Image)
    write_named(root / "sub-01/func/sub-01_bold.nii.gz", shape=(4, 5, 6, 3))
    (root / "sub-01/anat/sub-01_T1w.json").write_text(json.dumps(
        {"PatientName": "DOE^JANE", "EchoTime": 0.003, "x": {"StudyDate": "20180710", "y": 1}}))
    (root / "participants.tsv").write_text(
        "participant_id\tage\tname\tscore\nsub-01\t95\tJane Doe\t1.50\nsub-02\t40.0\tRoe\t2\n")
    (root / "dataset_description.json").write_text('{"Name": "x", "Authors": ["Doe, Jane"]}')
    (root / "README").write_text("by Jane Doe")
    return root


def findings_of(root):
    """All that scrub has to remove, found by reading every file anew."""
    found = []
    for path in sorted(root.rglob("*")):
        assert not path.is_symlink()
        if path.is_dir():
            continue
        found += name_identity(path, root)
        assert not is_dicom(path)
        name = path.name.lower()
        if name.endswith(".json"):
            found += sidecar_identity(path)
        elif name.endswith((".tsv", ".csv")):
            found += table_identity(path)
        elif not name.endswith((".img", ".img.gz")):
            image = nib.load(path)
            assert len(image.header.extensions) == 0
            found += header_findings(path, image.header, ())
    return found


def files_of(root):
    return {path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*") if path.is_file()}


def test_the_copy_names_nobody_and_the_original_is_as_before(site, tmp_path):
    before = files_of(site)
    assert findings_of_copyable(site)
    done = scrub(site, tmp_path / "copy")
    assert findings_of(tmp_path / "copy") == []
    assert files_of(site) == before
    assert set(before) - set(files_of(done.out)) == {"README"}
    assert done.num_copied == len(before) - 2  # README stays, and a pair counts as one
    assert not done.needs_person


def findings_of_copyable(root):
    return [one for path in root.rglob("*") if path.name == "participants.tsv"
            for one in table_identity(path)]


def test_a_copy_of_the_copy_is_the_same_and_has_nothing_to_remove(site, tmp_path):
    first = scrub(site, tmp_path / "copy")
    second = scrub(first.out, tmp_path / "again")
    assert files_of(second.out) == files_of(first.out)
    assert second.cleaned == {}
    assert not second.left


def test_voxels_and_geometry_stay_bit_for_bit(site, tmp_path):
    scrub(site, tmp_path / "copy")
    paths = [path for path in site.rglob("*") if path.name.endswith((".nii", ".nii.gz", ".hdr"))]
    assert len(paths) == 5
    for path in paths:
        old, new = nib.load(path), nib.load(tmp_path / "copy" / path.relative_to(site))
        assert new.dataobj.get_unscaled().tobytes() == old.dataobj.get_unscaled().tobytes()
        kept = [name for name in old.header if name not in (*TEXT_FIELDS, "vox_offset")]
        for name in kept:
            assert new.header[name].tobytes() == old.header[name].tobytes(), name


def test_the_same_scan_gives_the_same_bytes_without_time_or_name(site, tmp_path):
    path = site / "sub-01/anat/sub-01_T1w.nii.gz"
    copy(path, tmp_path / "a.nii.gz")
    copy(path, tmp_path / "b.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    assert content == (tmp_path / "b.nii.gz").read_bytes()
    assert content[3] == 0  # no field of the name
    assert content[4:8] == bytes(4)  # no time


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "f4", "c8"])
@pytest.mark.parametrize("made", [nib.Nifti1Image, nib.Nifti2Image])
def test_all_types_byte_orders_and_versions_are_copied(order, dtype, made, tmp_path):
    header = made.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    path = write_named(tmp_path / "a.nii", kind=made, dtype=np.dtype(dtype).newbyteorder(order),
                       header=header)
    removed = copy(path, tmp_path / "b.nii.gz")
    old, new = nib.load(path), nib.load(tmp_path / "b.nii.gz")
    assert new.header.endianness == old.header.endianness
    assert new.dataobj.get_unscaled().tobytes() == old.dataobj.get_unscaled().tobytes()
    assert {"descrip", "aux_file", "intent_name", "extensions"} <= set(removed)


def test_nothing_is_left_between_header_and_voxels_or_behind_them(tmp_path):
    path = write_named(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes() + b"DOE^JANE")
    assert "bytes after the voxels" in copy(path, tmp_path / "b.nii")
    content = (tmp_path / "b.nii").read_bytes()
    assert len(content) == 352 + 2 * 20 * 21 * 22
    assert content[348:352] == bytes(4)
    assert b"JANE" not in content
    assert read_extensions(content[352:352], "<") == ()


def test_content_and_name_agree_in_the_copy(site, tmp_path):
    packed = site / "sub-01/anat/sub-01_T1w.nii.gz"
    shutil.copy(packed, site / "sub-01/anat/sub-01_T2w.nii")
    packed.write_bytes(gzip.decompress(packed.read_bytes()))
    scrub(site, tmp_path / "copy")
    assert (tmp_path / "copy/sub-01/anat/sub-01_T1w.nii.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert (tmp_path / "copy/sub-01/anat/sub-01_T2w.nii").read_bytes()[:2] == struct.pack("<H", 348)


def damaged(content):
    yield b""
    yield content[: len(content) // 2]
    yield content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]
    yield b"../.git/annex/objects/x"
    yield gzip.compress(gzip.decompress(content)[:-10])
    yield gzip.compress(b"\0" * 400)


@pytest.mark.parametrize("number", range(6))
def test_a_damaged_scan_is_listed_and_not_copied(number, site, tmp_path):
    path = site / "sub-01/anat/sub-01_T1w.nii.gz"
    path.write_bytes(list(damaged(path.read_bytes()))[number])
    done = scrub(site, tmp_path / "copy")
    assert not (done.out / "sub-01/anat/sub-01_T1w.nii.gz").exists()
    assert done.left["sub-01/anat/sub-01_T1w.nii.gz"].reason is Reason.DAMAGED
    assert done.needs_person


def test_half_a_pair_is_listed_and_leaves_nothing(site, tmp_path):
    (site / "sub-02/anat/sub-02_FLAIR.img").unlink()
    done = scrub(site, tmp_path / "copy")
    assert not list((done.out / "sub-02/anat").glob("*FLAIR*"))
    assert done.left["sub-02/anat/sub-02_FLAIR.hdr"].reason is Reason.DAMAGED


def test_what_cannot_be_cleaned_stays_behind_and_is_listed_without_names(site, tmp_path):
    (site / "sub-01/anat/report.pdf").write_bytes(b"%PDF Jane Doe")
    (site / "sub-01/anat/export.log").write_text("PatientName: Jane Doe\n")
    (site / "IM000001").write_bytes(bytes(128) + b"DICM")
    (site / ".DS_Store").write_bytes(b"\0")
    (site / "broken.json").write_text('{"PatientName": "Jane Doe')
    (site / "participants.xlsx").write_bytes(b"PK\x03\x04")
    (site / "people.csv").write_text("Doe,Jane,Jane\n1,2,3\n")
    (site / "scans.tsv").write_text("participant_id\tx\nDoe_Jane\t1\n")
    write_named(site / "Doe_Jane" / "MRN0012345_T1w.nii.gz")
    write_named(site / "Doe_Jane" / "b_T1w.nii.gz")
    done = scrub(site, tmp_path / "copy")
    assert {name: stays.reason for name, stays in done.left.items()} == {
        ".DS_Store": Reason.LITTER, "IM000001": Reason.DICOM, "README": Reason.DOCUMENT,
        "broken.json": Reason.DAMAGED, "***": Reason.NAME, "participants.xlsx": Reason.WORKBOOK,
        "people.csv": Reason.DAMAGED,
        "scans.tsv": Reason.KEY, "sub-01/anat/report.pdf": Reason.OPAQUE,
        "sub-01/anat/export.log": Reason.TEXT}
    assert done.counts[Reason.NAME] == 2
    assert not any(secret in done.log.read_text() for secret in ("Doe", "doe", "Jane", "jane"))
    assert findings_of(done.out) == []


def test_the_log_says_where_and_of_which_kind_and_quotes_nothing(site, tmp_path):
    write_named(site / "Doe_Jane" / "a_T1w.nii.gz")
    done = scrub(site, tmp_path / "copy")
    assert done.log == tmp_path / "copy-scrub-log.json"
    text = done.log.read_text()
    for secret in ("Doe", "DOE", "Jane", "JANE", "1966", "12345", "2018", "95", "Roe"):
        assert secret not in text
    content = json.loads(text)
    cleaned = {one["file"]: one["removed"] for one in content["cleaned"]}
    assert cleaned["sub-01/anat/sub-01_T1w.json"] == [
        "PatientName (a person's name), x.StudyDate (a full date)"]
    assert cleaned["participants.tsv"] == ["`age` (an age over 89), `name` (a person's name)"]
    assert cleaned["sub-01/anat/sub-01_T1w.nii.gz"] == [
        "descrip", "aux_file", "db_name", "intent_name", "data_type", "extensions"]
    assert done.log.stat().st_mode & 0o777 == 0o600
    assert done.out.stat().st_mode & 0o777 == 0o700


def test_tables_keep_their_cells_and_ages_over_89_become_89_plus(site, tmp_path):
    scrub(site, tmp_path / "copy")
    assert (tmp_path / "copy/participants.tsv").read_text() == (
        "participant_id\tage\tscore\nsub-01\t89+\t1.50\nsub-02\t40.0\t2\n")


def test_links_become_files_and_circles_end(site, tmp_path):
    outside = write_named(tmp_path / "elsewhere/sub-03_T1w.nii.gz")
    (site / "sub-03/anat").mkdir(parents=True)
    (site / "sub-03/anat/sub-03_T1w.nii.gz").symlink_to(outside)
    (site / "sub-03/anat/sub-03_T2w.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    (site / "sub-03/loop").symlink_to(site)
    done = scrub(site, tmp_path / "copy")
    assert findings_of(done.out) == []
    assert (done.out / "sub-03/anat/sub-03_T1w.nii.gz").is_file()
    assert done.left["sub-03/anat/sub-03_T2w.nii.gz"].reason is Reason.DAMAGED
    assert not (done.out / "sub-03/loop").exists()
    assert done.left["sub-03/loop"].reason is Reason.AGAIN


def test_a_hidden_folder_and_a_link_to_nowhere_stay_behind_and_only_this_needs_somebody(site, tmp_path):
    (site / ".heudiconv").mkdir()
    (site / ".heudiconv" / "dicominfo.tsv").write_text("patient_id\n0012345\n")
    assert not scrub(site, tmp_path / "copy").needs_person
    assert not (tmp_path / "copy" / ".heudiconv").exists()
    (site / "loop").symlink_to("loop")
    done = scrub(site, tmp_path / "again")
    assert done.left["loop"].reason is Reason.LOST
    assert done.needs_person


def test_a_link_to_a_pipe_is_not_waited_for(site, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("sub-01/anat/sub-01_T2w.nii.gz", "a.json", "b.tsv", "c"):
        (site / name).symlink_to(tmp_path / "pipe")
    done = scrub(site, tmp_path / "copy")
    assert done.counts[Reason.SPECIAL] == 4
    assert done.needs_person


def test_a_header_that_claims_more_than_any_disk_holds_is_refused(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    with pytest.raises(ScanError):
        copy(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")


def test_a_disk_that_fills_up_ends_the_copy_and_leaves_nothing(site, tmp_path, monkeypatch):
    def fill(source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(clean_file._CLEANERS, Kind.SCAN, fill)
    with pytest.raises(OutputError, match="cannot be written"):
        scrub(site, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("where", ["data/copy", "data", "."])
def test_a_copy_has_to_lie_apart_from_the_data(where, site, tmp_path):
    before = files_of(site)
    with pytest.raises(OutputError, match="no place for a copy"):
        scrub(site, tmp_path / where)
    assert files_of(site) == before


def test_a_place_that_is_taken_is_refused_and_an_empty_folder_is_not(site, tmp_path):
    (tmp_path / "copy").mkdir()
    scrub(site, tmp_path / "copy")
    with pytest.raises(OutputError, match="is taken"):
        scrub(site, tmp_path / "copy")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with pytest.raises(OutputError, match="is taken"):
        scrub(site, tmp_path / "link")


def test_too_small_a_disk_is_told_before_anything_is_written(site, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(OutputError, match="no room"):
        scrub(site, tmp_path / "new/copy")
    assert not (tmp_path / "new").exists()


def test_a_crash_leaves_nothing_behind(site, tmp_path):
    def crash(done, total):
        if done == 3:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        scrub(site, tmp_path / "copy", progress=crash)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_listed(site, tmp_path):
    (site / "sub-01/anat/sub-01_T1w.nii.gz").chmod(0)
    done = scrub(site, tmp_path / "copy")
    assert done.left["sub-01/anat/sub-01_T1w.nii.gz"].reason is Reason.DAMAGED


def test_folders_aside_are_left_out_and_scans_outside_are_told(site, tmp_path):
    (site / "state").mkdir()
    (site / "state/progress.json").write_text("{}")
    done = scrub(site, tmp_path / "copy", aside=frozenset({site / "state"}),
                 listed=[site / "sub-01/anat/sub-01_T1w.nii.gz", tmp_path / "other/a.nii.gz"])
    assert not (done.out / "state").exists()
    assert done.counts == {Reason.DOCUMENT: 1, Reason.OUTSIDE: 1}
    assert done.needs_person


def test_progress_counts_every_file(site, tmp_path):
    seen = []
    scrub(site, tmp_path / "copy", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, len(seen)) for n in range(1, len(seen) + 1)]


def test_files_damaged_at_random_end_in_a_clean_copy(site, tmp_path):
    source = random.Random(7)
    paths = [path for path in site.rglob("*") if path.is_file()]
    for number in range(12):
        root = shutil.copytree(site, tmp_path / f"data{number}")
        for path in paths:
            copy = root / path.relative_to(site)
            content = bytearray(copy.read_bytes())
            for _ in range(source.randrange(1, 6)):
                content[source.randrange(len(content))] = source.randrange(256)
            copy.write_bytes(content)
        done = scrub(root, tmp_path / f"copy{number}")
        left = list(done.out.rglob("*.json")) + list(done.out.rglob("*.tsv"))
        assert [one for path in left for one in (
            sidecar_identity(path) if path.suffix == ".json" else table_identity(path))] == []


def test_real_data_is_copied_with_equal_voxels(test_data, tmp_path):
    root = test_data / "nifti" / "minicohort"
    done = scrub(root, tmp_path / "copy")
    assert findings_of(done.out) == []
    paths = list(root.rglob("*.nii.gz"))
    assert len(paths) >= 76
    for path in paths:
        old, new = read_nifti(path), read_nifti(done.out / path.relative_to(root))
        assert new.voxels.tobytes() == old.voxels.tobytes()
    table = Path("site-nsk/participants.tsv")
    assert (done.out / table).read_bytes() == (root / table).read_bytes()
