"""A person is told what each word about a failure means."""

from braing3n.protocol import LOSSES
from braing3n.refusal_words import MEANINGS, explained


def test_every_word_that_a_site_or_the_coordinator_says_has_a_meaning() -> None:
    assert MEANINGS.keys() == set(LOSSES)


def test_each_word_is_explained_once_and_unknown_ones_are_not() -> None:
    assert explained(["late", "plan", "late", "unheard_of"]) == [
        f"late: {MEANINGS['late']}", f"plan: {MEANINGS['plan']}"]
