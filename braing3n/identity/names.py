"""Names of persons in text: as DICOM writes them, with a title, by common given names."""

import re
from collections.abc import Iterator
from itertools import pairwise

from braing3n.identity.words import GIVEN_NAMES, IMAGING, INSTITUTIONS, PLACES, TITLES, fold

_LETTER = r"[^\W\d_]"
# DOE^JANE, DOE^, ^JANE; but not T2^star or Head^General.
_DICOM = re.compile(rf"(?<![\w^]){_LETTER}(?:{_LETTER}|['\u2019. -]){{1,40}}\^{{1,4}}"
                    rf"(?:{_LETTER}|['\u2019.-]){{0,40}}|(?<![\w^])\^{_LETTER}{{2,40}}")
_TITLE = re.compile(rf"(?<![\w.])({'|'.join(TITLES)})(?:\.[ _-]{{0,2}}|[ _]{{1,2}})"
                    rf"(?:(?:Dr|med|h\.c)\.?[ _]{{0,2}}){{0,2}}({_LETTER}[\w'\u2019-]{{0,40}})")
# Words that no digit touches, so that T1w gives none.
_WORD = re.compile(rf"(?<![^\W_]){_LETTER}+(?:['\u2019]{_LETTER}+)?(?![^\W_])")
_LETTERS = re.compile(rf"{_LETTER}+")
# J. Mustermann, E.Mustermann; in labels alone, as in a sentence it may be a species or a section.
_INITIAL = re.compile(r"(?<![\w.])[A-ZÀ-Þ]\.[ _-]?([A-ZÀ-Þ](?:[a-zß-ÿ'\u2019-]{2,40}|[A-ZÀ-Þ'-]{2,40}))"
                      r"(?![^\W_])")
_JOINTS = ("_", "-", ".", "+", ",", ", ", "__", "^")
# Outside of labels, both words of a name are capitalised.
_CAPITALS = re.compile(rf"(?<![^\W_])(?=[^a-z0-9]){_LETTER}{{2,}}(?:['\u2019]{_LETTER}+)?"
                       rf"[ _.,+^-]{{1,2}}(?=[^a-z0-9]){_LETTER}")
_CAMEL = re.compile(r"[A-ZÀ-Þ][a-zß-ÿ]+")
# Titles that are also abbreviations: digital radiography, magnetic resonance.
_AMBIGUOUS = ("DR", "Mr", "Ms", "Miss")


def person_names(text: str, *, is_label: bool) -> Iterator[tuple[int, int]]:
    """Yield where persons are named.

    Args:
        text: Any text.
        is_label: It is a header's field or a file's name; see `identity.kinds`.

    Yields:
        (first, last + 1) character.
    """
    for match in _DICOM.finditer(text) if "^" in text else ():
        if not _is_protocol(re.findall(rf"{_LETTER}+", match.group().casefold())):
            yield match.span()
    for match in _TITLE.finditer(text):
        word = match.group(2)
        if word[0].isupper() and not (match.group(1) in _AMBIGUOUS and word.casefold() in IMAGING):
            yield match.span()
    if not is_label and _CAPITALS.search(text) is None:
        return
    words = list(_WORD.finditer(text))
    found = [(first.start(), second.end()) for first, second in pairwise(words)
             if (is_label or (first.group()[0].isupper() and second.group()[0].isupper()))
             and _is_person(first.group(), second.group(), text[first.end():second.start()], is_label)]
    if is_label:
        found += [word.span() for word in _LETTERS.finditer(text) if _is_camel_person(word.group())]
        found += [match.span() for match in _INITIAL.finditer(text)
                  if match.group(1).casefold() not in IMAGING]
    if found and INSTITUTIONS.isdisjoint(word.group().casefold() for word in words):
        yield from found


def has_given_name(token: str) -> bool:
    """Tell whether one of several words joined to one token is a common given name."""
    words = [part for word in _LETTERS.findall(token) for part in (word, *_CAMEL.findall(word))]
    return len(words) > 1 and not GIVEN_NAMES.isdisjoint(map(str.casefold, words))


def _is_protocol(words: list[str]) -> bool:
    """Tell Siemens' names of protocols, such as Head^General, and ANON^ from names of persons."""
    is_of_person = not GIVEN_NAMES.isdisjoint(words) or min(map(len, words)) == 1
    return words[0] in IMAGING and not is_of_person


def _is_person(first: str, second: str, joint: str, is_label: bool) -> bool:
    """Tell whether two words that follow each other are given name and surname, in any order."""
    lower = (fold(first.casefold()), fold(second.casefold()))
    if not IMAGING.isdisjoint(lower) or PLACES.issuperset(lower):
        return False
    if joint not in (*_JOINTS, " ") and not (is_label and len(joint) == 1 and not joint.isascii()):
        return False
    has_given = not GIVEN_NAMES.isdisjoint(lower)
    is_capital = first[0].isupper() and second[0].isupper()
    if has_given and min(len(first), len(second)) > 1 and (is_capital or (is_label and joint != " ")):
        return True
    if not is_label or joint == " " or (joint == "-" and (first + second).isupper()):
        return False  # acronyms of studies are joined by hyphens: YALE-METS-0001
    return _looks_like_name(first) and _looks_like_name(second) and len(first + second) > 4


def _looks_like_name(word: str) -> bool:
    """Tell capitalised words that can be spoken from abbreviations such as GBM."""
    is_title = word[0].isupper() and word[1:].islower()
    return ((is_title or (word.isupper() and len(word) > 2))
            and any(char in "aeiouyäöüåéèáíóúøæ" for char in word.casefold()))


def _is_camel_person(word: str) -> bool:
    """Tell words such as JaneDoe."""
    parts = [part.casefold() for part in _CAMEL.findall(word)]
    return (len(parts) == 2 and sum(map(len, parts)) == len(word) and min(map(len, parts)) > 2
            and not GIVEN_NAMES.isdisjoint(parts) and IMAGING.isdisjoint(parts))
