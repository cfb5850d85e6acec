"""Text of no fixed layout that holds keys and values: markup, notes, dumps of headers, damaged JSON."""

import re
from collections.abc import Iterator
from functools import lru_cache

from braing3n.identity.content import Hit, Kind
from braing3n.identity.fields import is_of_hospital
from braing3n.identity.keys import kinds_by_key, says_something
from braing3n.identity.long_texts import MAX_LONG, kinds_in
from braing3n.identity.texts import kinds

_VALUE = r"\s{0,40}(?P<value>[^\s\n\r;,|<>{}\"'][^\n\r;,|<>{}\"]{0,255})"
_START = r"(?<![^\n\r\t;,|{}\[\]<>\"'.#%*])[ #.*%]{0,8}"
_KEY = r"(?P<key>[^\W\d_][^\n\r\t:=;,|{}\[\]<>\"]{0,64})"
# The attributes in which markup keeps a key beside its value.
_KEY_ATTRIBUTE = (r"\b(?:name|key|keyword|field|id|label|tag)\s{0,4}=\s{0,4}"
                  r"[\"'](?P<key>[^\"'<>]{2,64})[\"']")
_PATTERNS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in (
    # Patient's Name: X; "PatientName": "X"; 'PatientName' = 'X'
    rf"{_START}{_KEY}[\"']?[ \t]{{0,60}}[:=](?=[\s\"'\[(]{{0,8}}{_VALUE})",
    # EchoTime=3 PatientName=X
    rf"(?<![\w.-])(?P<key>[^\W\d_][\w.-]{{1,48}})=(?=[\"']?{_VALUE})",
    # <PatientName>X</PatientName>
    rf"<(?P<key>[^\W\d_][\w:.-]{{1,63}})(?:\s[^<>]{{0,256}})?>(?={_VALUE})",
    # <field name="PatientName" value="X"/> and <Attribute keyword="PatientName"><Value>X
    rf"{_KEY_ATTRIBUTE}[^<>]{{0,128}}?\b(?:value|val|content)\s{{0,4}}=\s{{0,4}}[\"'](?={_VALUE})",
    rf"{_KEY_ATTRIBUTE}[^<>]{{0,256}}>(?:\s{{0,40}}<[^<>/][^<>]{{0,128}}>){{0,3}}(?={_VALUE})",
    # <td>Patient Name</td><td>X</td>
    rf">\s{{0,40}}{_KEY}:?\s{{0,8}}</\w{{1,8}}>\s{{0,40}}:?(?:<[^<>]{{1,128}}>\s{{0,40}}){{0,3}}(?={_VALUE})",
    # (0010,0010) PN [X]; (0010, 0010) Patient's Name PN: 'X'
    r"(?P<key>\([0-9a-f]{4}, ?[0-9a-f]{4}\))[^\n\[:]{0,80}(?:\[|: ?'?)(?P<value>[^\n\]']{1,128})",
))

# Without one of these there is no key.
_MARKS = frozenset(":=>[")
_TAG = re.compile(r"[\d(][\w, )]{7,11}")
_COUNT = re.compile(r"\d+")


def text_hits(text: str) -> tuple[Hit, ...]:
    """Look through a text: keys with their values, and every line.

    Args:
        text: Beyond `MAX_LONG` characters it is one hit of `Kind.OPAQUE`.
    """
    if len(text) > MAX_LONG:
        return (Hit((), Kind.OPAQUE),)
    found = [Hit(shown_keys((key,)), kind) for key, value in pairs_in(text) if is_asked(key)
             for kind in kinds_by_key(key, value) if is_likely(kind, value)]
    return tuple(dict.fromkeys((*found, *(Hit((), kind) for kind in kinds_in(text)))))


def pairs_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield what may be keys and their values."""
    if _MARKS.isdisjoint(text):
        return
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            yield match["key"].rpartition(":")[2].strip(" '\t.#*"), match["value"].strip(" '\"")


def is_likely(kind: Kind, value: str) -> bool:
    """Tell whether a value is what its key announces; in a text it may also be part of a sentence."""
    if kind is Kind.UID:
        return Kind.UID in kinds(value)
    return kind is not Kind.DATE or any(map(str.isdecimal, value))


def shown_keys(place: tuple[str, ...]) -> tuple[str, ...]:
    """Return keys that may be shown: those that name nobody themselves."""
    return tuple("(key)" if kinds(key) else key for key in place)


def is_asked(key: str) -> bool:
    """Tell whether a key has to be asked what its value is."""
    # Thousands of keys that differ in a number are one; a DICOM tag is its number.
    return _is_asked(key if _TAG.fullmatch(key) else _COUNT.sub("1", key))


@lru_cache(maxsize=4096)
def _is_asked(key: str) -> bool:
    return says_something(key) and not is_of_hospital(key)
