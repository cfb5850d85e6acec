"""Texts of any length: cut into pieces, of which only those are judged that could name a person."""

import re
from collections.abc import Iterator

from braing3n.identity.content import Kind, in_order
from braing3n.identity.texts import MAX_CHARS, kinds

MAX_LONG = 4 * 2**20
"""Characters; a longer text is not looked through, but counts as one that may name a person."""

_PIECE = 512
# So much of a line is judged again with the next piece of it, as a date may lie on the cut.
_OVERLAP = 64
_BREAK = re.compile(r"[\r\n]+|(?<=>)")
# Long texts are mostly numbers: decimal ones that stand alone, all that is in an element or between
# quotation marks, and lists. A list's first numbers may belong to a word before it, its last to one
# behind it.
_LISTED = r"(?:(?<![\w.+-])[-+]?\d{1,7}[ ,;\t]{1,4})"
_NUMBERS = re.compile(r"(?<![\w.])[-+]?\d{0,4}\.\d+(?:[eE][-+]?\d{1,3})?(?![\w.])"
                      r"|(?<=[\"'>])[-+]?\d{1,7}(?=[\"'<])"
                      rf"|(?P<first>{_LISTED}{{8}}){_LISTED}+(?P<last>{_LISTED}{{2}})")
_CAPITAL = r"[A-ZÀ-Þ\u0100-\u024f\u0370-\u1fff]"
# One of these is in everything that names a person: a mark, six digits, a year, a month or a number
# of two digits between marks, a short number behind a word for it, a user's folder, two capitalised
# words, initial and surname.
_CANDIDATE = re.compile(r"[@^\\~]|(?:\d[ ./()_-]{0,2}){6}|(?:19|20)\d\d|\d[./-]\d\d?[./-]\d|\d-[A-Za-z]"
                        r"|(?i:mrn|n\.|uhid|empi|piz|ipp|nhc|kvnr|no|nr|num|number|nummer|numero|id"
                        r"|[°º#])[\s_.:#=/-]{0,3}[A-Za-z]{0,3}-?\d{4}|/[hpuHPU]|[A-Za-z]:/"
                        rf"|{_CAPITAL}[^\W\d_]*[ _.,+'-]{{1,2}}{_CAPITAL}")


def kinds_in(text: str) -> tuple[Kind, ...]:
    """Return the kinds of identifying content in a text, each once, in the order of `Kind`.

    Args:
        text: Any text. Beyond `MAX_LONG` characters it is `Kind.OPAQUE`.
    """
    if len(text) > MAX_LONG:
        return (Kind.OPAQUE,)
    pieces = (text.splitlines() if len(text) <= MAX_CHARS
              else dict.fromkeys(_pieces(_NUMBERS.sub(_without_numbers, text))))
    return in_order(kind for piece in filter(_CANDIDATE.search, pieces) for kind in kinds(piece))


def _without_numbers(match: re.Match[str]) -> str:
    return f"{match['first']}0 {match['last']}" if match["first"] else "0"


def _pieces(text: str) -> Iterator[str]:
    """Yield lines, and the tags of markup; long ones in overlapping parts."""
    for line in _BREAK.split(text):
        if len(line) <= _PIECE:
            yield line
        else:
            yield from (line[max(0, start - _OVERLAP) : start + _PIECE]
                        for start in range(0, len(line), _PIECE))
