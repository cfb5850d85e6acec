import math

from hypothesis import given
from hypothesis import strategies as st

from braing3n.audit.report.words import chance, linked, listed, plain, sure, times


@given(st.floats(0.0, 20.0))
def test_what_e_to_the_epsilon_is_said_to_be_is_never_less_and_hardly_more(epsilon: float) -> None:
    told = float(times(epsilon).replace(",", ""))
    assert math.exp(epsilon) * (1 - 1e-9) <= told <= math.exp(epsilon) * 1.011


def test_a_bound_that_says_nothing_has_no_digits() -> None:
    assert times(21.0) == times(1e6) == "more than 1,000,000,000"


@given(st.floats(0.0, 800.0))
def test_nobody_becomes_surer_than_is_said(epsilon: float) -> None:
    told = sure(epsilon)
    share = 100.0 if told == "next to certain" else float(told.removesuffix(" %"))
    assert share >= 100 / (1 + math.exp(-epsilon)) - 1e-6
    assert told != "100 %"


def test_even_odds_stay_even_at_zero() -> None:
    assert (times(0.0), sure(0.0)) == ("1.00", "50 %")


@given(st.floats(1e-12, 0.5))
def test_a_chance_is_never_told_as_smaller_than_it_is(delta: float) -> None:
    assert 1 / float(chance(delta).removeprefix("1 in ").replace(",", "")) >= delta * (1 - 1e-6)


def test_entries_that_a_text_names_lead_to_them() -> None:
    found = linked("entry 3 is of x, after entry 12", lambda entry: f"to-{entry}")
    assert plain(found) == "entry 3 is of x, after entry 12"
    assert [piece.target for piece in found if piece.target] == ["to-3", "to-12"]


def test_names_read_as_a_sentence_has_them() -> None:
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a", "a and b", "a, b and c"]
