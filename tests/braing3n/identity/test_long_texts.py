import random
import time

import pytest

from braing3n.identity.content import Kind
from braing3n.identity.long_texts import MAX_LONG, kinds_in
from braing3n.identity.texts import MAX_CHARS

RANDOM = random.Random(1)
XML = "".join(f'<Vol IndexOffset="{number}">{RANDOM.random():.6f}</Vol>' for number in range(20_000))
NUMBERS = " ".join(str(RANDOM.randrange(4000)) for _ in range(100_000))
LINES = "The quick brown fox, of 12 seconds at /usr/local/bin/x.\n" * 10_000


@pytest.mark.parametrize("text", ["", "x " * 500_000, XML, NUMBERS, LINES], ids=len)
def test_long_texts_without_a_person_pass_within_two_seconds_a_megabyte(text):
    started = time.process_time()
    assert kinds_in(text) == ()
    assert time.process_time() - started < max(1.0, 2e-6 * len(text))


@pytest.mark.parametrize(("needle", "kind"), [
    ("DOE^JANE", Kind.NAME), ("seen by Dr. Quandt", Kind.NAME), ("Erika Mustermann", Kind.NAME),
    ("Ágnes Šimek", Kind.NAME), ("Łucja Anna", Kind.NAME),
    ("1966-01-31", Kind.DATE), ("31-Jan-66", Kind.DATE), ("born 660131", Kind.DATE),
    ("born 3.4.66", Kind.DATE), ("on 12 July 2018", Kind.DATE), ("19660131", Kind.DATE),
    ("jdoe@mri", Kind.EMAIL), ("MRN 1234", Kind.RECORD), ("patient no. 12345", Kind.RECORD),
    ("PATID-A12345", Kind.RECORD), ("Fallnummer:12345", Kind.RECORD), ("/home/jdoe/x", Kind.PATH),
    ("C:/Users/jane/x", Kind.PATH), ("~jdoe/x", Kind.PATH), ("078-05-1120", Kind.PERSONAL),
    ("Tel: 12 34 56 78", Kind.PHONE), ("1.2.826.0.1.3680043.2.1", Kind.UID)])
@pytest.mark.parametrize("around", ["x " * 20_000, XML[:40_000], NUMBERS[:30_000], LINES[:20_000]],
                         ids=len)
def test_what_names_a_person_is_found_anywhere_in_a_long_text(around, needle, kind):
    for place in (0, 11_111, len(around)):
        assert kind in kinds_in(f"{around[:place]} {needle} {around[place:]}"), place


def test_what_lies_on_the_cut_between_two_pieces_of_a_line_is_found():
    for shift in range(480, 520):
        assert Kind.DATE in kinds_in("x" * shift + " 1966-01-31 " + "x " * MAX_CHARS)


def test_beyond_its_limit_a_text_counts_as_one_that_may_name_a_person():
    assert kinds_in("x" * (MAX_LONG + 1)) == (Kind.OPAQUE,)
