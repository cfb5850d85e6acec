import gzip
import random

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from braing3n.identity.content import Hit, Kind
from braing3n.identity.dicom import dicom_hits, is_dicom

OPAQUE = [Hit((), Kind.OPAQUE)]


def encoded(dataset, *, implicit):
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, True
    write_dataset(stream, dataset)
    return stream.getvalue()


@pytest.fixture
def clean():
    dataset = Dataset()
    dataset.Modality, dataset.EchoTime, dataset.ImageType = "MR", "2.9", ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID, dataset.SoftwareVersions = "1.2.840.10008.5.1.4.1.1.4", "syngo MR 2013-01-01"
    dataset.PatientName, dataset.PatientID = "ANON", ""
    return dataset


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("padding", [0, 6, 14])
def test_attributes_that_may_name_a_person_are_found_also_in_sequences(clean, implicit, padding):
    item = Dataset()
    item.OperatorsName = "EXAMPLE^A"
    clean.PatientName, clean.StudyDate, clean.PatientAge = "DOE^JANE", "20180710", "095Y"
    clean.RequestAttributesSequence = Sequence([item])
    found = dicom_hits(encoded(clean, implicit=implicit) + bytes(padding))
    assert set(found) == {
        Hit(("PatientName",), Kind.NAME), Hit(("StudyDate",), Kind.DATE),
        Hit(("PatientAge",), Kind.AGE),
        Hit(("OperatorsName",), Kind.NAME)}


@pytest.mark.parametrize("implicit", [True, False])
def test_a_data_set_that_names_nobody_passes(clean, implicit):
    assert dicom_hits(encoded(clean, implicit=implicit)) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_cut_or_no_data_set_cannot_be_looked_into(clean):
    content = encoded(clean, implicit=True)
    assert dicom_hits(content[:41]) == OPAQUE
    assert dicom_hits(b"no data set at all") == dicom_hits(b"") == OPAQUE


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_bytes_never_pass_and_never_raise():
    source = random.Random(0)
    assert all(dicom_hits(source.randbytes(source.randrange(200))) for _ in range(300))


def test_reading_shows_no_value_in_a_warning_or_a_log(clean, caplog, recwarn):
    clean.add_new("PatientID", "LO", "secret" * 40)
    clean.add_new("StudyInstanceUID", "UI", "not.a.uid.secret")
    dicom_hits(encoded(clean, implicit=False))
    assert not any("secret" in str(warning.message) for warning in recwarn)
    assert "secret" not in caplog.text


def test_dicom_is_told_by_its_mark_or_its_name(tmp_path):
    (tmp_path / "IM000001").write_bytes(bytes(128) + b"DICM" + bytes(20))
    for name in ("a.dcm", "b.IMA", "DICOMDIR", "c.dcm.gz"):
        (tmp_path / name).touch()
    (tmp_path / "short").write_bytes(b"DICM")
    assert sorted(path.name for path in tmp_path.iterdir() if is_dicom(path)) == [
        "DICOMDIR", "IM000001", "a.dcm", "b.IMA", "c.dcm.gz"]
    assert not is_dicom(tmp_path)
    assert not is_dicom(tmp_path / "nothing")


def test_a_real_dicom_file_is_told(test_data):
    assert is_dicom(test_data / "nifti" / "formats" / "dicom" / "N2D_0192.dcm")


def whole(dataset):
    return bytes(128) + b"DICM" + encoded(dataset, implicit=False)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_dicom_file_is_told_without_its_preamble(clean, implicit, tmp_path):
    (tmp_path / "IM000001").write_bytes(encoded(clean, implicit=implicit))
    assert is_dicom(tmp_path / "IM000001")


@pytest.mark.parametrize("name", ["IM1.gz", "sub-01_T1w.nii.gz"])
def test_a_dicom_file_is_told_within_gzip_under_any_name(clean, name, tmp_path):
    (tmp_path / name).write_bytes(gzip.compress(whole(clean)))
    assert is_dicom(tmp_path / name)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("first", [b"\x08\0", b"\x02\0", b"\0\x08", b"\x1f\x8b"])
def test_bytes_that_begin_like_dicom_or_gzip_are_none(first, tmp_path):
    source = random.Random(1)
    for _ in range(200):
        content = first + bytes([source.randrange(20), 0]) + source.randbytes(source.randrange(300))
        (tmp_path / "x").write_bytes(content)
        assert not is_dicom(tmp_path / "x")
