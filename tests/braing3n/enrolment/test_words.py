from hashlib import sha256
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.enrolment.words import check_words, fingerprint_words, shown
from braing3n.errors import ProtocolError
from braing3n.files import canonical_json

WORDS = "legal winner thank year wave sausage worth useful legal winner thank yellow"


def by_hand(entropy: bytes) -> str:
    """BIP-39 as it is written, without the library: 128 bits and 4 of their sha256, 11 bits a word."""
    known = files("mnemonic").joinpath("wordlist/english.txt").read_text(encoding="utf-8").split()
    bits = f"{int.from_bytes(entropy, 'big'):0128b}" + f"{sha256(entropy).digest()[0]:08b}"[:4]
    return " ".join(known[int(bits[start:start + 11], 2)] for start in range(0, 132, 11))


def test_the_oracle_knows_the_published_vectors():
    assert by_hand(b"\x7f" * 16) == WORDS
    assert by_hand(bytes(16)) == "abandon " * 11 + "about"


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=4))
def test_words_are_those_of_the_standard_for_128_bits_of_the_digest(content):
    assert fingerprint_words(content) == by_hand(sha256(canonical_json(content)).digest()[:16])


@pytest.mark.parametrize("given_words", [
    WORDS, WORDS.upper(), f"  {WORDS}\n", WORDS.replace(" ", ", "),
    " ".join(f"{number}. {word}" for number, word in enumerate(WORDS.split(), 1)),
    "\n".join(shown(WORDS)),
])
def test_letters_alone_count(given_words):
    check_words(given_words, WORDS, "hospital-a")


@pytest.mark.parametrize(("given_words", "told"), [
    ("", "0 were given"),
    (WORDS.rpartition(" ")[0], "11 were given"),
    (WORDS + " legal", "13 were given"),
    (WORDS.replace("sausage", "sosage"), "word 6: `sosage` is in no list of such words; did you mean "
                                         "`sausage`?"),
    (WORDS.replace("sausage", "abandon"), "changed the file on its way"),
    (" ".join(reversed(WORDS.split())), "changed the file on its way"),
])
def test_other_words_are_refused_and_it_is_said_what_may_be_wrong(given_words, told):
    with pytest.raises(ProtocolError, match="not the words of hospital-a") as error:
        check_words(given_words, WORDS, "hospital-a")
    assert told in error.value.fix
    assert error.value.expected == WORDS
