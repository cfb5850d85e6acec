"""Twelve words that stand for a file, so that two people can compare it by telephone.

The words are BIP-39's English ones (Palatinus et al. 2013,
https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki): 128 bits of a sha256, and 4 bits that
find a word that was misheard. To have somebody else's words, a forger has to try 2^128 files.
"""

import difflib
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from mnemonic import Mnemonic

from braing3n.errors import ProtocolError
from braing3n.files import canonical_json

NUM_WORDS = 12
_BYTES = 16


def fingerprint_words(content: Mapping[str, Any]) -> str:
    """Return the words for `content`, with one blank between two."""
    return _list().to_mnemonic(sha256(canonical_json(content)).digest()[:_BYTES])


def shown(words: str) -> list[str]:
    """Return lines with six numbered words each, to read out."""
    numbered = [f"{number:>2} {word:<9}" for number, word in enumerate(words.split(), 1)]
    return ["  " + " ".join(numbered[start:start + 6]).rstrip() for start in range(0, NUM_WORDS, 6)]


def check_words(given: str, expected: str, whose: str) -> None:
    """Check the words that somebody read out.

    Args:
        given: As they were typed; letters alone count.
        expected: As they are here.
        whose: Who read them out, for the message.

    Raises:
        ProtocolError: They are other words.
    """
    said = re.findall(r"[a-z]+", given.lower())
    if said == expected.split():
        return
    raise ProtocolError(f"these are not the words of {whose}", expected=expected,
                        found=" ".join(said) or "no words",
                        fix=_misheard(said) or "read them out once more; if they differ still, "
                        "somebody has changed the file on its way: do not go on, and tell each other")


def _misheard(said: list[str]) -> str:
    """Return what to do about words that are in no such list; nothing where all are."""
    if len(said) != NUM_WORDS:
        return f"give all {NUM_WORDS} words; {len(said)} were given"
    known = _list().wordlist
    for number, word in enumerate(said, 1):
        if word not in known:
            close = difflib.get_close_matches(word, known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            return f"correct word {number}: `{word[:20]}` is in no list of such words{hint}"
    return ""


def _list() -> Mnemonic:
    return Mnemonic("english")
