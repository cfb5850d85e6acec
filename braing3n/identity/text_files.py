"""Text files beside the scans, such as notes, logs and reports: what in them is said of a patient.

README, CHANGES and LICENSE hold dates, authors and their addresses in every data set. So a text file
is judged by its keys and by numbers that say themselves what they are, not by every name and date.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from braing3n.identity.content import Hit, Kind
from braing3n.identity.fields import is_of_patient, kind_of_key
from braing3n.identity.free_text import is_asked, is_likely, pairs_in, shown_keys
from braing3n.identity.keys import kinds_by_key
from braing3n.identity.long_texts import MAX_LONG, kinds_in
from braing3n.identity.raw_bytes import decoded, is_text
from braing3n.identity.texts import kinds

_ENDINGS = {"", ".txt", ".text", ".xml", ".log", ".md", ".rst", ".html", ".htm", ".rtf", ".yaml",
             ".yml"}
# A text says these of anybody, such as an author, unless its key says that it is of a patient.
_OF_ANYBODY = {Kind.NAME, Kind.EMAIL, Kind.PHONE, Kind.ADDRESS, Kind.AGE, Kind.OPAQUE}
# What is found without a key: numbers behind a word for them.
_BY_ITSELF = {Kind.RECORD, Kind.PERSONAL}
# sub-01, Patient 12: what follows is said of one patient.
_ONE_PATIENT = re.compile(r"sub-\w{1,64}|(?:patient|subject|participant|proband)(?:in)?[ _#-]{1,3}"
                          r"\w{0,8}\d\w{0,8}", re.IGNORECASE)
# How archives number data sets.
_ARCHIVE = re.compile(r"(?:ds|gse|phs|syn|prj[a-z]{2}|egas|srp|doi|10\.)[\d.]{3,}\S*", re.IGNORECASE)
_BORN = re.compile(r"(?<![A-Za-z])(?:born|geb(?:oren)?|dob)(?![a-z])", re.IGNORECASE)


def text_file_hits(path: Path) -> tuple[Hit, ...]:
    """Return what a text file says of patients; nothing for other files and beyond `MAX_LONG` bytes.

    Raises:
        OSError: It cannot be read.
    """
    if path.suffix.lower() not in _ENDINGS or not path.is_file() or path.stat().st_size > MAX_LONG:
        return ()
    content = path.read_bytes()
    if not is_text(content):
        return ()
    text = decoded(content)
    return tuple(dict.fromkeys((*_announced(text), *_by_itself(text))))


def _announced(text: str) -> Iterator[Hit]:
    for key, value in pairs_in(text):
        if is_asked(key) and not _ARCHIVE.fullmatch(value):
            for kind in kinds_by_key(key, value):
                if is_likely(kind, value) and _is_said(key, kind, value):
                    yield Hit(shown_keys((key,)), kind)
        elif _ONE_PATIENT.fullmatch(key) and Kind.NAME in kinds(value):
            yield Hit((), Kind.NAME)


def _is_said(key: str, kind: Kind, value: str) -> bool:
    if kind in _OF_ANYBODY and not is_of_patient(key):
        return False
    # In a sentence such as "names of patients: removed by hand" no name follows.
    is_name = value[0].isalpha() and not value[0].islower()
    # A program's times are of its files.
    return is_name if kind is Kind.NAME else (kind is not Kind.DATE or kind_of_key(key) is Kind.DATE)


def _by_itself(text: str) -> Iterator[Hit]:
    for line in text.splitlines():
        if _BORN.search(line) and Kind.DATE in kinds_in(line):
            yield Hit((), Kind.DATE)
    for kind in kinds_in(_ARCHIVE.sub("", text)):
        if kind in _BY_ITSELF:
            yield Hit((), kind)
