import pytest

from braing3n.listing import first_of


@pytest.mark.parametrize(("count", "told"), [
    (0, ""), (1, "a"), (3, "a, b, c"), (5, "a, b, c and 2 more")])
def test_the_first_names_are_told_and_how_many_more_there_are(count, told):
    assert first_of("abcde"[:count], 3) == told


def test_names_may_be_parted_by_another_mark():
    assert first_of(["a, b", "c"], mark="; ") == "a, b; c"
