import pytest

from braing3n.identity.content import Kind
from braing3n.identity.fields import (
    age_unit,
    is_of_hospital,
    is_patient_number,
    kind_of_column,
    kind_of_key,
)
from braing3n.identity.values import fits, is_epoch, is_old, is_removed, is_serial_day, is_short_date


@pytest.mark.parametrize(("kind", "names"), [
    (Kind.NAME, "name|Nachname|Vorname|nom|prénom|PRENOM|apellidos|Patient's Name|name_of_patient"
                "|cognome|PatientName|Last Name|Name, Vorname|nom_de_famille|apellido_paterno"
                "|Referring Physician"),
    (Kind.DATE, "DOB|birth_date|Geburtsdatum|Geb.-Datum|fecha_nacimiento|fecha_de_nacimiento|BIRTHDT"
                "|date_naissance|Date de naissance|data di nascita|PatientBirthDate"),
    (Kind.RECORD, "mrn|MRN|Medical Record Number|Fallnummer|Patientennummer|accession_number"
                  "|N° dossier"),
    (Kind.PERSONAL, "ssn|nhs_number|numéro de sécurité sociale|codice_fiscale|Versichertennummer"),
    (Kind.PHONE, "phone|Telefon|Handynummer|téléphone"),
    (Kind.EMAIL, "email|E-Mail|courriel"), (Kind.ADDRESS, "address|Straße|PLZ|zip_code|code postal"),
    (None, "participant_id|age|sex|site_name|file_name|path|scanner_name|country_of_birth|birth_weight"
           "|DATE_AVAILABLE|hospital_id|record_id|ETHNIC_ID|EXAMDATE|manufacturers_model_name|group")])
def test_columns_are_known_by_their_names_in_several_languages(kind, names):
    assert {name: kind_of_column(name) for name in names.split("|")} == dict.fromkeys(
        names.split("|"), kind)


@pytest.mark.parametrize(("key", "kind"), [
    ("PatientName", Kind.NAME), ("patientname", Kind.NAME), ("00100010", Kind.NAME),
    ("(0010,0030)", Kind.DATE), ("ConsultingPhysicianName", Kind.NAME), ("OperatorsName", Kind.NAME),
    ("PatientID", Kind.RECORD), ("OtherPatientIDsSequence", Kind.RECORD),
    ("PatientAddress", Kind.ADDRESS),
    ("StudyInstanceUID", Kind.UID), ("FrameOfReferenceUID", Kind.UID),
    ("IrradiationEventUID", Kind.UID),
    ("SOPClassUID", None), ("TransferSyntaxUID", None), ("DeviceUID", None), ("Name", None),
    ("TaskName", None), ("ReceiveCoilName", None), ("OpenFMRIAccessionNumber", None),
    ("EchoTime", None)])
def test_keys_are_known_by_their_dicom_keyword(key, kind):
    assert kind_of_key(key) is kind


def test_facts_of_the_hospital_and_its_programs_are_set_apart():
    names = "InstitutionName InstitutionAddress StationName DeviceSerialNumber SoftwareVersions"
    assert all(map(is_of_hospital, names.split()))
    assert not any(map(is_of_hospital, ("PatientName", "SeriesDescription")))


def test_patient_numbers_are_judged_by_their_content():
    assert all(map(is_patient_number, ("Patient ID", "patient_no", "PatID", "PID", "StudyID")))
    assert not any(map(is_patient_number, ("participant_id", "subject_id", "study_id", "hospital_id")))


@pytest.mark.parametrize(("name", "unit"), [
    ("age", "years"), ("Age at MRI", "years"), ("AgeatEntry", "years"), ("Alter", "years"),
    ("age_months", "months"), ("dosage", None), ("stage", None), ("language", None)])
def test_columns_of_ages_are_told_with_their_unit(name, unit):
    assert age_unit(name) == unit


def test_the_unit_of_ages_may_come_from_a_dictionary_unless_the_name_says_it():
    assert age_unit("age", {"age": "months"}) == "months"
    assert age_unit("age_days", {"age_days": "years"}) == "days"


def test_what_stands_for_a_removed_value_is_none():
    for text in ("", "X", "xxxx", "ANON", "Anonymous^", "anonymized", "removed", "n/a", "0", "sub-01",
                 "Anonymous Patient", "***"):
        assert is_removed(text), text
    for text in ("DOE^JANE", "0012345", "Xaver", "1966-01-01"):
        assert not is_removed(text), text


def test_a_birth_date_is_more_than_a_year():
    assert all(fits(Kind.DATE, text) for text in ("1966-01-01", "01/1966", "19660101"))
    assert not any(fits(Kind.DATE, text) for text in ("1966", "1966.0", "1900-01-01", "n/a"))


def test_times_and_days_as_numbers_are_known():
    assert is_epoch("1531222727")
    assert is_epoch("1531222727000.5")
    assert not is_epoch("144052.115")
    assert is_serial_day("43291")
    assert not is_serial_day("1")
    assert is_short_date("31/01/66")
    assert not is_short_date("31/31/66")


def test_old_ages_are_those_over_89_years_in_any_unit():
    assert is_old("95", "years")
    assert is_old("095Y", "years")
    assert is_old("1100", "months")
    assert not any(is_old(text, "years")
                   for text in ("89+", "89", "540", "1520", "-9999", "22-25", "045Y"))
