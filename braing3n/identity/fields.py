"""What the name of a column, a sidecar's key or a DICOM attribute says of what is in it.

Names are compared as sets of words, without accents, capitals and words such as "patient" or "of",
so that "Patient's Name", `name_of_patient` and `PatientName` are one.
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType

from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag

from braing3n.data.people.covariates import AgeUnit
from braing3n.data.people.names import column_name
from braing3n.identity.content import Kind
from braing3n.identity.words import fold, words_of

_FILLERS = words_of("""
patient patients patienten patientin subject subjects participant participants proband probanden pt
pat paciente pacientes paziente person personal s of the de del della des du d la le les l el der
die das di da do dos und and et y e i
""")
_PATIENT = words_of("patient patients patienten patientin pat paciente paziente case fall")
_PERSON = _PATIENT | words_of("subject participant proband person pt")

_NAME = words_of("""
name names fullname surname forename firstname lastname givenname familyname maidenname initials
patientname patname nachname vorname familienname rufname geburtsname zuname nom noms prenom prenoms
nombre nombres apellido apellidos cognome nome sobrenome apelido naam voornaam achternaam navn
fornavn etternavn efternavn namn fornamn efternamn nimi etunimi sukunimi imie nazwisko jmeno
prijmeni ime prezime soyad soyadi фио фамилия имя 姓名 氏名 名前
""")
_NAME_PARTS = words_of("""
first last full given family middle maiden birth mother mothers completo complet naissance usage
famille vollstandiger initial 1 2 primer segundo paterno materno
""")
_STAFF = words_of("""
physician physicians doctor doctors radiologist operator operators technologist technician arzt
hausarzt arztin medecin medico zuweiser referrer referring performing requesting attending
behandelnder nameofphysiciansreadingstudy
""")
_BIRTH = words_of("""
dob patientdob patientbirthdate birthdate birthday birthdt brthdtc dateofbirth bday geburtsdatum
geburtstag gebdatum gebdat gebtag fechanacimiento fnac fnacimiento fdn datenaissance ddn datanascita
datanascimento geboortedatum fodselsdato fodelsedatum fodselsdag syntymaaika dataurodzenia
датарождения 出生日期 生日 生年月日
""")
_BORN = words_of("birth born geb geburt geboren naissance nee nacimiento nac nascita nato nascimento "
                  "urodzenia fodsel")
_BIRTH_YEAR = words_of("yob birthyear yearofbirth geburtsjahr gebjahr anneenaissance annonascita "
                       "anonacimiento anonascimento geboortejaar fodselsar rokurodzenia")
_YEAR = words_of("year jahr annee anno ano jaar ar rok")
_DATE = words_of("date datum fecha dato datetime timestamp zeitpunkt дата 日期 日付")
_DAY = _DATE | words_of("data dt day tag jour dia giorno")
_TIME = _DATE | words_of("data dt time zeit uhrzeit hora heure ora")
_RECORD = words_of("""
mrn mrno mrnumber medicalrecordnumber medicalrecordno medicalrecord medrecno medicalrecordid
recordnumber recordno chartnumber chartno hospitalnumber hospitalno hospno hospnum urno urnumber
uhid mpi empi accession accessionnumber accessionno accno accnum accnumber admissionid
admissionnumber admissionno encounterid serviceepisodeid fallnummer fallnr aufnahmenummer aufnahmenr
patientennummer patientennr patnr piz ipp numerodossier nodossier ndossier dossier historiaclinica
numerohistoria numerohistoriaclinica nhc cartellaclinica numerocartella prontuario studyinstanceuid
""")
_PERSONAL = words_of("""
ssn socialsecurity socialsecuritynumber socialsecurityno nhs nhsnumber nhsno chinumber nationalid
nationalidnumber insurancenumber insuranceno insuranceid policynumber passport passportnumber
passportno driverslicense driverslicence idcard kvnr versichertennummer versichertennr
versicherungsnummer versicherungsnr krankenversicherungsnummer sozialversicherungsnummer svnr ahv
ahvnummer ahvnr nir numsecu numerosecuritesociale securitesociale dni nif nie curp rfc cpf
codicefiscale codfiscale bsn pesel cpr cprnummer personnummer fodselsnummer hetu rodnecislo
""")
_PHONE = words_of("""
phone phonenumber phoneno telephone telephonenumber telephonenumbers tel telno telefon telefonnummer
telefonnr mobilephone mobilenumber handy handynummer portable telefono movil celular fax faxnumber
""")
_EMAIL = words_of("email emailaddress mailaddress mail emailadresse correo correoelectronico courriel")
_ADDRESS = words_of("""
address homeaddress postaladdress streetaddress street anschrift adresse strasse wohnort plz
postleitzahl zip zipcode postcode postalcode codepostal codigopostal direccion domicilio indirizzo
endereco adres
""")
_AGE = words_of("age ages alter edad eta idade leeftijd alder ika wiek возраст 年龄 年齢")
_NUMBER = words_of("id ids no nr num number nummer numero identifier code")
_JOINED_NUMBERS = ("pid", "patid", "patientid", "patientnumber", "patientno")
_DATE_ENDS = ("date", "datum", "dtc", "datetime", "timestamp")
_UNITS: dict[str, AgeUnit] = {
    "years": "years", "year": "years", "yrs": "years", "jahre": "years", "ans": "years",
    "months": "months", "month": "months", "mo": "months", "monate": "months", "mois": "months",
    "weeks": "weeks", "week": "weeks", "days": "days", "day": "days"}

# Attributes that name nobody by what their name says, but by what hospitals and scanners write there.
_DICOM = {
    "PatientID": Kind.RECORD, "OtherPatientIDs": Kind.RECORD, "OtherPatientIDsSequence": Kind.RECORD,
    "IssuerOfPatientID": Kind.RECORD, "MedicalRecordLocator": Kind.RECORD,
    "AccessionNumber": Kind.RECORD, "AdmissionID": Kind.RECORD, "ServiceEpisodeID": Kind.RECORD,
    "PlacerOrderNumberImagingServiceRequest": Kind.RECORD,
    "FillerOrderNumberImagingServiceRequest": Kind.RECORD,
    "PatientInsurancePlanCodeSequence": Kind.PERSONAL, "PatientBirthDate": Kind.DATE,
    "PatientBirthDateInAlternativeCalendar": Kind.DATE, "PatientBirthTime": Kind.DATE,
    "PatientAddress": Kind.ADDRESS, "PatientTelephoneNumbers": Kind.PHONE,
    "PatientTelecomInformation": Kind.PHONE, "RegionOfResidence": Kind.ADDRESS,
    "ReferringPhysicianAddress": Kind.ADDRESS, "ReferringPhysicianTelephoneNumbers": Kind.PHONE,
    "PersonAddress": Kind.ADDRESS, "PersonTelephoneNumbers": Kind.PHONE,
    "CurrentPatientLocation": Kind.ADDRESS, "PatientInstitutionResidence": Kind.ADDRESS,
    "PatientComments": Kind.OPAQUE, "AdditionalPatientHistory": Kind.OPAQUE,
    "PatientReligiousPreference": Kind.OPAQUE, "MilitaryRank": Kind.OPAQUE,
}
# Facts of the hospital, the device and its programs. Their numbers and dates are no patient's.
_HOSPITAL = words_of("""
institutionname institutionaddress institutionaldepartmentname
institutionaldepartmenttypecodesequence institutioncodesequence hospital stationname
performedstationname scheduledstationname deviceserialnumber scannerserialnumber deviceuid gantryid
detectorid manufacturer manufacturersmodelname site siteid sitename center centre institution
institutionid clinic scanner softwareversions softwareversion conversionsoftware
conversionsoftwareversion dcm2bidsversion dateoflastcalibration timeoflastcalibration
dateofmanufacture dateofinstallation bidsversion dcmmetaversion pulsesequencedetails datasetdoi
sourcedatasets generatedby license consistencyinfo
""")
# In a sidecar, names and addresses of anything; in a table of subjects there is no doubt.
_OF_ANYTHING = words_of("name names nom noms nome nombre nombres naam navn namn nimi ime address "
                        "adresse adres street mail email portable zip")
# UIDs that are of a kind of object or of a program, not of a scan.
_SHARED_UIDS = ("ClassUID", "SyntaxUID", "ContextUID", "ResourceUID", "SchemeUID", "CreatorUID",
                "DeviceUID", "ContextGroupUID")


def kind_of_column(name: str) -> Kind | None:
    """Return what a column holds by its name, or None where the name says nothing."""
    return _kind_of_words(_words(name))


@lru_cache(maxsize=4096)
def kind_of_key(key: str) -> Kind | None:
    """Return what a sidecar's key holds: a DICOM keyword or tag, or a name as of a column."""
    keyword = _keyword(key)
    if keyword:
        vr = dictionary_VR(keyword)
        if keyword in _DICOM or vr == "PN":
            return _DICOM.get(keyword, Kind.NAME)
        if vr == "UI":
            return None if keyword.endswith(_SHARED_UIDS) else Kind.UID
        return None
    words = _words(key)
    is_patients = not _PERSON.isdisjoint(_split(key))
    kind = _kind_of_words(words)
    if len(words) == 1 and words[0] in _OF_ANYTHING and not is_patients:
        return None
    if kind is None and words and words[-1] in ("uid", "uids"):
        return None if key.endswith(_SHARED_UIDS) else Kind.UID
    return kind


def is_of_hospital(key: str) -> bool:
    """Tell whether a key's value is a fact of the hospital or a program, whatever it looks like."""
    bare = re.sub(r"[^a-z0-9]", "", key.casefold())
    return bare in _HOSPITAL or bare.removesuffix("s").endswith("version")


def is_patient_number(name: str) -> bool:
    """Tell `Patient ID` and `patient_no`, which hold pseudonyms or record numbers."""
    words = _split(name)
    if name == "StudyID" or "".join(words) in _JOINED_NUMBERS:
        return True
    return not _PATIENT.isdisjoint(words) and set(words) <= _PATIENT | _FILLERS | _NUMBER


def is_of_patient(key: str) -> bool:
    """Tell whether a key says itself that its value is a patient's, as in a text about anything.

    `Patient phone`, `OperatorsName` and `Surname` do; `First name` and `E-mail address` are an
    author's as well.
    """
    words = set(_split(key))
    is_staff_or_surname = kind_of_key(key) is Kind.NAME and (
        bool(words & _STAFF) or words.isdisjoint(("name", "names")))
    return bool(words & _PERSON) or is_staff_or_surname or bool(_keyword(key))


def is_date(name: str) -> bool:
    """Tell whether a name announces a date."""
    return any(word in _DATE or word.endswith(_DATE_ENDS) for word in _split(name))


def is_time(name: str) -> bool:
    """Tell whether a name announces a time, or a date and a time."""
    return any(word in _TIME or word.endswith((*_DATE_ENDS, "time")) for word in _split(name))


def is_birth_year(name: str) -> bool:
    """Tell whether a name announces a year of birth."""
    words = frozenset(_words(name))
    return "".join(_words(name)) in _BIRTH_YEAR or bool(words & _BORN and words & _YEAR)


def age_unit(name: str, said: Mapping[str, str] = MappingProxyType({})) -> AgeUnit | None:
    """Return the unit of a column or key that holds ages, or None where it holds something else.

    Args:
        name: Of the column.
        said: What a dictionary says that columns count in, by `data.names.column_name`; a name
            that says it itself goes before.
    """
    words = _split(name)
    if _AGE.isdisjoint(words) and not re.match("ageat|agein|ageyears", "".join(words)):
        return None
    own = next((_UNITS[word] for word in words if word in _UNITS), None)
    return own or _UNITS.get(said.get(column_name(name), ""), "years")


def _kind_of_words(words: tuple[str, ...]) -> Kind | None:
    found, joined = frozenset(words), "".join(words)
    if found & _BIRTH or joined in _BIRTH or (found & _BORN and found & _DAY) or joined == "naissance":
        return Kind.DATE
    if (found & _NAME and found <= _NAME | _NAME_PARTS | _STAFF) or joined in _NAME:
        return Kind.NAME
    if found and found <= _STAFF:
        return Kind.NAME
    for kind, names in ((Kind.RECORD, _RECORD), (Kind.PERSONAL, _PERSONAL), (Kind.PHONE, _PHONE),
                        (Kind.EMAIL, _EMAIL), (Kind.ADDRESS, _ADDRESS)):
        if joined in names:
            return kind
    return None


@lru_cache(maxsize=4096)
def _split(name: str) -> tuple[str, ...]:
    """Return the words of a name: accents, capitals and marks do not count."""
    spaced = re.sub(r"(?<=[a-zß-ÿ])(?=[A-Z])", " ", fold(name.replace("ß", "ss")))
    return tuple(re.findall(r"[^\W_]+", spaced.casefold()))


def _words(name: str) -> tuple[str, ...]:
    words = _split(name)
    return tuple(word for word in words if word not in _FILLERS) or words


def _keyword(key: str) -> str | None:
    """Return the DICOM keyword that a key is or, as `(0010,0010)` or `00100010`, stands for."""
    tag = re.fullmatch(r"\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-f]{4})\)?", key)
    return keyword_for_tag(tag[1] + tag[2]) or None if tag else _keywords().get(key.casefold())


@cache
def _keywords() -> dict[str, str]:
    """Return all DICOM keywords by their lower-case spelling."""
    return {keyword.casefold(): keyword for keyword in keyword_dict}
