"""Full dates in text, in the spellings of several languages.

Only dates from 1925 on count: BIDS moves the dates of acquisition before that year, so that they
keep their order and say nothing else.
"""

import re
from collections.abc import Iterator
from datetime import date

from braing3n.identity.words import MONTHS, SOFTWARE

FIRST_YEAR = 1925
_LAST_YEAR = 2099
# A program's own date is no older; a date of birth often is.
_FIRST_SOFTWARE_YEAR = 1995

_MONTH = "(?P<month>" + "|".join(sorted(MONTHS, key=len, reverse=True)) + r")(?![a-z])\.?"
_YEAR = r"(?P<y>(?:19|20)\d\d)"
_CLOCK = r"(?:\d\d:\d\d(?::\d\d)?[ ]+(?:[a-z]{2,5}[ ]+)?)?"
_PATTERNS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (
    # 20180710, 20180710113847 and so on. After a digit and a dot it is a version or a fraction.
    rf"(?<!\d)(?<!\d\.){_YEAR}(?P<m>[01]\d)(?P<d>[0-3]\d)"
    r"(?:[0-2]\d[0-5]\d[0-5]\d(?:\d{3}|\d{6})?)?(?!\d)",
    rf"(?<!\d)(?<!\d\.)(?P<a>[0-3]\d)(?P<b>[0-3]\d){_YEAR}(?!\d)",
    # 2018-07-10, 2018/7/10; with dots, underscores and colons only in full.
    rf"(?<!\d){_YEAR}(?P<s>[-/])(?P<m>\d\d?)(?P=s)(?P<d>\d\d?)(?!\d)",
    rf"(?<![\dv])(?<!\d\.){_YEAR}(?P<s>[._:])(?P<m>\d\d)(?P=s)(?P<d>\d\d)(?!\d)(?!\.\d)",
    # 10.07.2018, 1/31/1966
    rf"(?<!\d)(?<!\d\.)(?P<a>\d\d?)(?P<s>[-/.])(?P<b>\d\d?)(?P=s){_YEAR}(?!\d)(?!\.\d)",
    rf"(?<!\d)(?P<a>\d\d)_(?P<b>\d\d)_{_YEAR}(?!\d)",
    # 31-Jan-1966, 31. Januar 1966, 31 de enero de 1966; 31-JAN-66
    rf"(?<!\d)(?P<d>\d\d?)(?:st|nd|rd|th|er|\.)?[-/ ._]{{0,2}}(?:de )?{_MONTH}[-/ ._,]{{0,2}}"
    rf"(?:del? )?{_YEAR}(?!\d)",
    rf"(?<!\d)(?P<d>\d\d?)-{_MONTH}-(?P<short>\d\d)(?!\d)",
    # Jan 31 1966, January 31st, 1966, Tue Jul 10 11:38:47 CEST 2018
    rf"(?<![a-z]){_MONTH}[ _-]{{1,2}}(?P<d>\d\d?)(?:st|nd|rd|th)?,?[ _-]{{1,2}}{_CLOCK}{_YEAR}(?!\d)",
    rf"(?<!\d){_YEAR}[-/ ._]?{_MONTH}[-/ ._]?(?P<d>\d\d?)(?!\d)",
))
# What all of them have: a year, or the month between hyphens.
_POSSIBLE = re.compile(r"(?:19|20)\d\d|\d-[A-Za-z]|\d{6}|\d[./-]\d\d?[./-]\d")
# With a year of two digits, and blanks or nothing between, a date is told by what stands before it.
_BIRTH = re.compile(r"(?<![a-z])(?:born|dob|birth(?: ?(?:day|date))?|date of birth|geb(?:oren)?"
                    r"|nato il|nata il|nacido el|nee? le|naissance)[ :=.]{1,3}(?:on |am )?"
                    r"(\d\d?)([./-]?)(\d\d?)\2(\d\d)(?!\d)", re.IGNORECASE)
# The image archive of LONI ends its file names with the time of a file's upload.
_ARCHIVE = re.compile(r"_br(?:_raw)?_$", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_BEFORE = 60


def full_dates(folded: str) -> Iterator[tuple[int, int]]:
    """Yield where the full dates since 1925 are.

    Args:
        folded: The text without accents; see `identity.fold`.

    Yields:
        (first, last + 1) character.
    """
    if _POSSIBLE.search(folded) is None:
        return
    for pattern in _PATTERNS:
        for match in pattern.finditer(folded):
            year = _year_of(match)
            if year is not None and not _is_programs(folded[max(0, match.start() - _BEFORE):
                                                            match.start()], year, match):
                yield match.span()
    yield from (match.span() for match in _BIRTH.finditer(folded) if _is_short(match))


def _year_of(match: re.Match[str]) -> int | None:
    """Return the year, if the match is a day of the calendar since 1925."""
    parts = match.groupdict()
    year = 1900 + int(parts["short"]) if parts.get("short") else int(parts["y"])
    if parts.get("short"):
        year += 0 if year >= FIRST_YEAR else 100
    if parts.get("a"):
        days = {(int(parts["a"]), int(parts["b"])), (int(parts["b"]), int(parts["a"]))}
    else:
        month = MONTHS[parts["month"].lower()] if parts.get("month") else int(parts["m"])
        days = {(month, int(parts["d"]))}
    is_day = any(_is_day(year, month, day) for month, day in days)
    return year if is_day and FIRST_YEAR <= year <= _LAST_YEAR else None


def _is_short(match: re.Match[str]) -> bool:
    """Tell day, month and year of two digits, in an order that people use."""
    first, second, third = int(match[1]), int(match[3]), int(match[4])
    return any(_is_day(2000, month, day)
               for month, day in ((second, first), (first, second), (second, third)))


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _is_programs(before: str, year: int, match: re.Match[str]) -> bool:
    """Tell whether a date is that of a program or an archive: "FreeSurfer Nov 20 2013"."""
    if year < _FIRST_SOFTWARE_YEAR:
        return False
    words = [word.lower().rstrip("0123456789") for word in _WORD.findall(before)]
    whole = [word.lower() for word in _WORD.findall(before)]
    is_upload = len(match.group()) >= 14 and _ARCHIVE.search(before) is not None
    return is_upload or not SOFTWARE.isdisjoint((*words[-2:], *whole[-2:]))
