"""Whether a value really is what its field's name announces: a name, a number, a date, an age."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from braing3n.data.people.covariates import AgeUnit, Cell, is_missing, is_over_89
from braing3n.identity.content import Kind
from braing3n.identity.dates import FIRST_YEAR

# What is written where a name was removed.
_REMOVED = re.compile(
    r"[\W_0]*|x+|anon(ymous|ymi[sz]ed?|ym|ymisiert|ymis[eé]e?|im[oa])?|(de|un)-?identified|removed?"
    r"|deleted|redacted|blank|empty|no ?name|patients?|subjects?|participants?|volunteers?|phantom|test"
    r"|pseudonym(i[sz]ed)?|entfernt", re.IGNORECASE)
_PSEUDONYM = re.compile(r"sub-[A-Za-z0-9+]+")
# Nobody is older; in earlier years other things began.
_OLDEST_YEARS = 125
# Seconds since 1970: from 1990 to 2040.
_EPOCH_S = (631_152_000.0, 2_208_988_800.0)
# Days since 1900, as spreadsheets count: from 1925 to 2050.
_SERIAL = (9_133, 54_789)


def is_removed(text: str) -> bool:
    """Tell a value that says nothing: empty, "anonymous", "XXX", "n/a", or a BIDS label."""
    text = text.strip()
    return (is_missing(text) or _PSEUDONYM.fullmatch(text) is not None
            or all(_REMOVED.fullmatch(part) for part in re.split(r"[\^=\s]+", text)))


def fits(kind: Kind, text: str) -> bool:
    """Tell whether a value may be of the kind that its field's name announces."""
    text = text.strip()
    if is_removed(text):
        return False
    is_such = _FITTING.get(kind)
    return is_such is None or is_such(text)


def is_number_of_patient(text: str) -> bool:
    """Tell a number so long that it is one of a hospital rather than a count of subjects."""
    return re.fullmatch(r"[A-Za-z]{0,4}[ -]?\d{5,}([-/]\d+)?", text.strip()) is not None and (
        not is_removed(text))


def is_year(text: str) -> bool:
    """Tell a year alone, as a whole number or as a table's float."""
    return re.fullmatch(r"(19|20)\d\d(\.0)?", text) is not None


def is_old_birth_year(text: str) -> bool:
    """Tell a year in which nobody was born who is under 90 at the end of this one."""
    text = text.strip()
    return is_year(text) and 90 <= datetime.now(UTC).year - int(text[:4]) <= _OLDEST_YEARS


def is_shifted(text: str) -> bool:
    """Tell a date before 1925, where BIDS moves dates to."""
    year = re.match(r"(\d{4})(\D|\d{4}(\D|$)|$)", text) or re.search(r"()\D(\d{4})$", text)
    return year is not None and 1000 < int(year[1] or year[2]) < FIRST_YEAR


def is_epoch(text: str) -> bool:
    """Tell seconds or milliseconds since 1970, as programs write a time."""
    if re.fullmatch(r"\d{9,13}(\.\d+)?", text.strip()) is None:
        return False
    value = float(text)
    return any(_EPOCH_S[0] <= value / unit <= _EPOCH_S[1] for unit in (1.0, 1000.0))


def is_serial_day(text: str) -> bool:
    """Tell a day as spreadsheets store it."""
    return re.fullmatch(r"\d{4,5}(\.\d+)?", text.strip()) is not None and (
        _SERIAL[0] <= float(text) <= _SERIAL[1])


def is_short_date(text: str) -> bool:
    """Tell a date with a year of two digits, which in other columns could be anything."""
    found = re.fullmatch(r"(\d\d?)([-/.])(\d\d?)\2(\d\d)", text.strip())
    if found is None:
        return False
    day, month = sorted((int(found[1]), int(found[3])), reverse=True)
    try:
        datetime(2000, month, day, tzinfo=UTC)
    except ValueError:
        return False
    return True


def is_old(text: str, unit: AgeUnit) -> bool:
    """Tell an age over 89 that is not top-coded as 89+."""
    return is_over_89(Cell("", text.strip(), None, "" if unit == "years" else unit))


def _num_digits(text: str) -> int:
    return sum(char.isdecimal() for char in text)


def _is_decimal(text: str) -> bool:
    return re.fullmatch(r"\d*[.,]\d+", text) is not None


_FITTING: dict[Kind, Callable[[str], bool]] = {
    Kind.NAME: lambda text: sum(map(str.isalpha, text)) > 1,
    Kind.DATE: lambda text: not is_year(text) and not is_shifted(text),
    Kind.RECORD: lambda text: _num_digits(text) > 0 and not _is_decimal(text),
    Kind.PERSONAL: lambda text: _num_digits(text) >= 6,
    Kind.PHONE: lambda text: _num_digits(text) >= 5,
    Kind.EMAIL: lambda text: "@" in text,
}
