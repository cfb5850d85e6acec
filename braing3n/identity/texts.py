"""What in a text may name a person: which kinds, where, and the text without them. Pure text.

Rules are chosen so that what imaging software writes passes. What they cannot know, such as a
pseudonym from a name, they do not find; a person has to look as well.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from braing3n.identity.content import Kind, in_order
from braing3n.identity.dates import full_dates
from braing3n.identity.names import has_given_name, person_names
from braing3n.identity.words import IMAGING, TITLES, fold

MAX_CHARS = 16_384
"""A longer text is not looked through, but counts as one that may name a person."""

_HIDDEN = "***"


class Span(NamedTuple):
    """One place in a text."""

    start: int
    end: int
    kind: Kind


def kinds(text: str, *, is_label: bool = False) -> tuple[Kind, ...]:
    """Return the kinds of identifying content in a text, each once, in the order of `Kind`.

    Args:
        text: Any text. Beyond `MAX_CHARS` characters it is `Kind.OPAQUE`.
        is_label: The text is a header's field or the name of a file: so short that two joined
            capitalised words, which are no words of imaging, are read as a name.
    """
    if len(text) > MAX_CHARS:
        return (Kind.OPAQUE,)
    return in_order(span.kind for span in _spans(unicodedata.normalize("NFC", text), is_label))


def redact(text: str, *, is_label: bool = False) -> str:
    """Return a text with `***` in place of all that may name a person, for a screen or a log.

    What looks like a path or a file's name is judged as such, even within a sentence; words joined
    to a common given name are as well. A word of a name is hidden wherever it stands again. Texts
    of more than `MAX_CHARS` characters are cut there.

    Args:
        text: Any text.
        is_label: It is a path or a file's name as a whole.
    """
    text = unicodedata.normalize("NFC", text)
    cut = text[:MAX_CHARS]
    is_label = is_label or " " not in cut.strip() or _FILE_END.search(cut) is not None
    spans = list(_spans(cut, is_label))
    for token in () if is_label else _TOKEN.finditer(cut):
        word = token.group()
        is_path = not {"/", "\\"}.isdisjoint(word) or _FILE_END.search(word) is not None
        if is_path or has_given_name(word):
            spans += [Span(token.start() + span.start, token.start() + span.end, span.kind)
                      for span in _spans(word, is_label=True)]
    places = [span[:2] for span in spans]
    for word in _words_of_names(cut[span.start : span.end] for span in spans
                                if span.kind is Kind.NAME):
        places += [match.span() for match in
                   re.finditer(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", cut, re.IGNORECASE)]
    pieces, end = [], 0
    for first, last in sorted(places):
        if last > end:
            pieces += [cut[end:first], _HIDDEN] if first >= end else []
            end = last
    return "".join(pieces) + cut[end:] + ("..." if len(text) > MAX_CHARS else "")


def name_words(text: str) -> frozenset[str]:
    """Return the words, in lower case, of the persons that a file's name names, perhaps."""
    text = unicodedata.normalize("NFC", text)[:MAX_CHARS]
    return _words_of_names(text[span.start : span.end] for span in _spans(text, is_label=True)
                           if span.kind is Kind.NAME)


def _words_of_names(names: Iterable[str]) -> frozenset[str]:
    """Return the words of names that are long enough to be told from others."""
    words = {word for name in names for word in re.findall(r"[^\W\d_]{3,}", name.casefold())}
    return frozenset(words - IMAGING - {title.casefold() for title in TITLES})


def has_absolute_path(text: str) -> bool:
    """Tell whether a text holds an absolute path of some machine, whoever's it is."""
    return _ABSOLUTE.search(_without_web(text[:MAX_CHARS])) is not None


def _spans(text: str, is_label: bool) -> Iterator[Span]:
    """Yield all places, which may overlap."""
    # Most texts are short words: what cannot be in them is not looked for.
    has_number, has_path = _NUMBERS.search(text) is not None, not _PATH_MARKS.isdisjoint(text)
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield Span(*match.span(), Kind.EMAIL)
    text = _without_web(text)
    for first, last in full_dates(fold(text)):
        yield Span(first, last, Kind.DATE)
    for first, last in person_names(text, is_label=is_label):
        yield Span(first, last, Kind.NAME)
    for kind, pattern, is_meant in _PATTERNS:
        if not (has_path if kind is Kind.PATH else has_number):
            continue
        for match in pattern.finditer(text):
            if is_meant is None or is_meant(match.group()):
                # The first group, where there is one, is what names a person: a user's folder.
                yield Span(*match.span(pattern.groups and 1), kind)


def _without_web(text: str) -> str:
    """Return a text of the same length without web addresses and digests, which name nobody."""
    return _WEB.sub(lambda match: " " * len(match.group()), text)


def _digits(text: str) -> list[int]:
    return [int(char) for char in text if char.isdecimal()]


def _is_social_security(text: str) -> bool:
    """Check a number of the United States."""
    area = text[:3]
    return area not in ("000", "666") and area < "900" and text[4:6] != "00" and text[7:] != "0000"


def _is_nhs(text: str) -> bool:
    """Check the last digit of a number of the British health service."""
    digits = _digits(text)
    total = sum(weight * digit for weight, digit in zip(range(10, 1, -1), digits, strict=False))
    return (11 - total % 11) % 11 == digits[9]


def _is_french(text: str) -> bool:
    """Check the key of a French social security number."""
    digits = "".join(map(str, _digits(text)))
    return 97 - int(digits[:13]) % 97 == int(digits[13:])


def _is_spanish(text: str) -> bool:
    """Check the letter of a Spanish identity card."""
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(text[:8]) % 23] == text[-1]


def _is_standard(text: str) -> bool:
    """Tell a UID that DICOM itself defines, such as a class's, from one of a scan."""
    return text.startswith("1.2.840.10008.")


# user@host; not a repository at a commit, a program at a version or a sequence at a field strength.
_IP = r"[1-9]\d{1,2}(?:\.\d{1,3}){3}(?![\w.])"
_VERSION = r"(?i:rc|beta|alpha|dev|pre|post|rel|stable|final|tesla|[kmg]?hz|sec|min|deg|bit|fps)"
_EMAIL = re.compile(r"(?<![\w.+-])(?!git@)[A-Za-z0-9][\w.+-]{0,63}@(?:"
                    r"(?!v?\d|[0-9a-f]{7,40}(?!\w))[A-Za-z](?:[\w-]+|(?=\.))(?:\.[\w-]+){0,8}"
                    rf"|{_IP}|\d{{1,4}}(?!{_VERSION})(?![0-9a-f]{{3,40}}(?!\w))[A-Za-z][\w-]{{2,63}})")
_WEB = re.compile(
    r"(?:https?|ftp)://\S+|\bwww\.\S+|\b(?:doi|bids|orcid):\S+|\b10\.\d{4,9}/\S+"
    # Digests and keys; with a letter and a digit among the first sixteen.
    r"|(?<![0-9A-Za-z])(?=[0-9a-f]{0,15}[a-f])(?=[0-9a-f]{0,15}[0-9])[0-9a-f]{16,}(?![0-9A-Za-z])",
    re.IGNORECASE)
_USER = r"([^\\/\s\"'<>|:,;]{1,64})"
_NOBODY = r"(?!(?:public|shared|default|user|users)(?![\w.-])|\*{3})"
_ABSOLUTE = re.compile(r"(?<![\w/:.\\~])/(?:[\w.-]+/)[\w.-]+|(?<![A-Za-z])[A-Za-z]:[\\/]{1,2}\w"
                       r"|(?<![\w\\])\\\\[\w.-]+\\|(?<![\w~])~\w*/")
_AFTER = r"[\s_.:#=/-]{0,3}"
_NUMBER = r"(?:id|no|nr|num|number|nummer|numero|n°|nº|#)\.?"

# A number with hyphens, also between the underscores of a file's name.
_ALONE, _ENDS = r"(?<![^\W_])(?<!-)", r"(?![^\W_]|-)"

_NUMBERS = re.compile(r"\d{3}|(?:\d[ ./()_-]{0,2}){6}")
_PATH_MARKS = frozenset("/\\~")

Check = Callable[[str], bool]
_TOKEN = re.compile(r"[^\s`\"(),]+")
_FILE_END = re.compile(r"\.(?:nii|gz|json|tsv|csv|dcm|ima|hdr|img|xlsx|txt|pdf)[.:;\s]{0,3}$",
                       re.IGNORECASE)
_PATTERNS: tuple[tuple[Kind, re.Pattern[str], Check | None], ...] = (
    (Kind.UID, re.compile(r"(?<![\w.])(?:(?:1\.[23]|2\.16)(?:\.\d{1,64}){2,20}|2\.25\.\d{9,39})(?!\w)"),
     lambda text: not _is_standard(text) and len(text) >= 12),
    (Kind.PATH, re.compile(rf"(?i)/(?:home\d?|homes|users|people)/{_NOBODY}{_USER}"), None),
    (Kind.PATH, re.compile(
        r"(?i)[a-z]:[\\/]{1,2}(?:users|documents and settings|dokumente und einstellungen|benutzer"
        rf"|utilisateurs|usuarios|utenti)[\\/]{{1,2}}{_NOBODY}{_USER}"), None),
    (Kind.PATH, re.compile(r"(?<![\w\\])\\\\([\w.-]{1,64}\\{1,2}[\w$.-]{1,64})"), None),
    (Kind.PATH, re.compile(r"(?<![\w~/])~([A-Za-z]\w{1,32})/"), None),
    # MRN0012345, patient no. 12345, Fallnummer: 12345
    (Kind.RECORD, re.compile(
        rf"(?i)(?<![a-z])(?:mrn|m\.r\.n\.|uhid|empi|piz|ipp|nhc|kvnr)(?:{_AFTER}{_NUMBER})?"
        rf"{_AFTER}[a-z]{{0,3}}-?\d{{4,}}"), None),
    (Kind.RECORD, re.compile(
        r"(?i)(?<![a-z])(?:pat(?:ient(?:en|s|in)?)?|case|fall|chart|hosp(?:ital)?|(?:medical )?record"
        r"|accession|acc|insurance|versicherten|aufnahme|dossier|historia(?: clinica)?|admission)"
        rf"[\s_.'-]{{0,2}}{_NUMBER}{_AFTER}[a-z]{{0,3}}-?\d{{5,}}"), None),
    (Kind.RECORD, re.compile(r"(?i)(?<![a-z])(?:patient|pat|pid|acc)[\s_.:#=-]{0,2}\d{6,}"), None),
    (Kind.PERSONAL, re.compile(rf"{_ALONE}\d{{3}}-\d{{2}}-\d{{4}}{_ENDS}"), _is_social_security),
    (Kind.PERSONAL, re.compile(r"(?i)(?<![a-z])(?:ssn|nhs|dni|nif|nir|chi|cpf|bsn|pesel|cpr)"
                               rf"(?:{_AFTER}{_NUMBER})?{_AFTER}\d[\d .-]{{6,20}}\d"), None),
    (Kind.PERSONAL, re.compile(r"(?<![\w-])\d{3} \d{3} \d{4}(?![\w-])"), _is_nhs),
    (Kind.PERSONAL, re.compile(r"(?<!\w)[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?\d\d ?\d{3} ?\d{3} ?\d\d(?!\w)"),
     _is_french),
    (Kind.PERSONAL, re.compile(r"(?<!\w)\d{8}-?[A-HJ-NP-TV-Z](?!\w)"), _is_spanish),
    (Kind.PERSONAL, re.compile(r"(?<!\w)[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z](?!\w)"), None),
    (Kind.PERSONAL, re.compile(rf"{_ALONE}(?:[0-3]\d(?:0\d|1[0-2])\d\d|\d\d(?:0\d|1[0-2])[0-3]\d)"
                               rf"-\d{{4}}{_ENDS}"), None),
    (Kind.PHONE, re.compile(r"(?<![\w.+])\+[1-9]\d{0,2}[ ()/-]{1,2}(?:\d{1,5}[ ()/-]{0,2}){2,5}\d{2,}"),
     lambda text: 8 <= len(_digits(text)) <= 15),
    (Kind.PHONE, re.compile(r"(?<![\w.+])\+[1-9]\d{9,13}(?!\d)"), None),
    (Kind.PHONE, re.compile(r"(?<![\w-])(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?![\w-])"), None),
    (Kind.PHONE, re.compile(r"(?i)(?<![a-z])(?:tel|telefon|telephone|phone|fon|fax|mobile?|handy)"
                            r"[.: ]{1,3}(?:no\.? )?\+?\d[\d /()-]{5,18}\d"), None),
)
