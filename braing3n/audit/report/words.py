"""Text whose numbers lead to where they come from, and numbers as people read them."""

import math
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from braing3n.audit.output import up

_ENTRY = re.compile(r"\bentry ([0-9]{1,9})\b")
# Beyond this e^ε is no bound to speak of, and its digits say nothing.
_LARGEST = 1e9


class Piece(NamedTuple):
    """A piece of a sentence.

    Attributes:
        text: As it reads.
        target: Id of the part of the document that it leads to; None where it is text alone.
    """

    text: str
    target: str | None = None


Words = tuple[Piece, ...]


def words(*parts: "str | Piece | Words") -> Words:
    """Return a sentence of pieces, texts and sentences."""
    found: list[Piece] = []
    for part in parts:
        if isinstance(part, str):
            found.append(Piece(part))
        elif isinstance(part, Piece):
            found.append(part)
        else:
            found += part
    return tuple(found)


def plain(sentence: Iterable[Piece]) -> str:
    """Return a sentence without its links."""
    return "".join(piece.text for piece in sentence)


def linked(text: str, target: Callable[[int], str]) -> Words:
    """Return a text in which each `entry 5` leads to that entry.

    Args:
        text: The text.
        target: Gives an entry's id.
    """
    found, done = [], 0
    for match in _ENTRY.finditer(text):
        found += [Piece(text[done:match.start()]), Piece(match[0], target(int(match[1])))]
        done = match.end()
    return (*found, Piece(text[done:]))


def number(epsilon: float | None, target: str) -> Piece:
    """Return an ε, rounded up as it is an upper bound, that leads to where it comes from."""
    return Piece(up(epsilon), target)


def times(epsilon: float) -> str:
    """Return e^ε with three digits, rounded up.

    >>> times(1.0), times(3.0), times(8.0), times(30.0)
    ('2.72', '20.1', '2,981', 'more than 1,000,000,000')
    """
    if epsilon >= math.log(_LARGEST):
        return f"more than {_LARGEST:,.0f}"
    factor = math.exp(epsilon)
    digits = max(0, 2 - math.floor(math.log10(factor)))
    return f"{math.ceil(factor * 10**digits - 1e-9) / 10**digits:,.{digits}f}"


def chance(delta: float) -> str:
    """Return δ as a chance, rounded up.

    >>> chance(1e-5), chance(3e-6)
    ('1 in 100,000', '1 in 333,333')
    """
    return f"1 in {math.floor(1 / delta + 1e-6):,}"


def sure(epsilon: float) -> str:
    """Return how sure somebody can become at most who took the odds for even, rounded up.

    It is e^ε / (1 + e^ε), as docs/privacy-budget.md has it.

    >>> sure(1.0), sure(3.0), sure(8.0), sure(20.0)
    ('74 %', '96 %', '99.97 %', 'next to certain')
    """
    doubt = 1 / (1 + math.exp(epsilon)) if epsilon < 700 else 0.0
    if doubt < 1e-4:
        return "next to certain"
    digits = 0 if doubt > 0.01 else math.ceil(-math.log10(doubt)) - 2
    share = 100 * (1 - doubt)
    return f"{math.ceil(share * 10**digits - 1e-9) / 10**digits:.{digits}f} %"


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them: `site-a, site-b and site-c`."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
