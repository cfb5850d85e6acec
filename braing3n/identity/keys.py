"""What a value is, given the key or the DICOM attribute that it stands under."""

from collections.abc import Iterator

from braing3n.identity.content import Kind
from braing3n.identity.fields import (
    age_unit,
    is_birth_year,
    is_date,
    is_patient_number,
    is_time,
    kind_of_key,
)
from braing3n.identity.values import (
    fits,
    is_epoch,
    is_number_of_patient,
    is_old,
    is_old_birth_year,
    is_short_date,
)


def says_something(key: str) -> bool:
    """Tell whether a key has to be asked what its value is."""
    return (kind_of_key(key) is not None or is_patient_number(key) or age_unit(key) is not None
            or is_birth_year(key) or is_time(key))


def kinds_by_key(key: str, text: str) -> Iterator[Kind]:
    """Yield what a value is, given the key that it stands under."""
    kind, unit = kind_of_key(key), age_unit(key)
    if kind is not None and fits(kind, text):
        yield kind
    if is_patient_number(key) and is_number_of_patient(text):
        yield Kind.RECORD
    if unit is not None and is_old(text, unit):
        yield Kind.AGE
    if (is_birth_year(key) or unit == "years") and is_old_birth_year(text):
        yield Kind.BIRTH_YEAR
    if (is_time(key) and is_epoch(text)) or (
            (is_date(key) or unit is not None) and is_short_date(text)):
        yield Kind.DATE
