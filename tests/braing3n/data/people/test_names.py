import pytest

from braing3n.data.people.names import code_of, site_key, whole, whole_number, without_float_end


@pytest.mark.parametrize(("text", "bare"), [
    ("35343.0", "35343"), ("-1.00", "-1"), ("1.5", "1.5"), ("1.1.0", "1.1.0"), ("v2.0", "v2.0"),
    ("", ""), (".0", ".0"),
])
def test_a_whole_number_loses_what_makes_it_a_float(text, bare):
    assert whole_number(text) == bare
    assert code_of(f" {text} ") == bare


@pytest.mark.parametrize(("name", "bare"), [("sub-07.0", "sub-07"), ("7.50", "7.50"), ("a.0", "a.0")])
def test_a_name_loses_it_at_its_end(name, bare):
    assert without_float_end(name) == bare


@pytest.mark.parametrize(("value", "told"), [
    (3.0, 3), (1.5, 1.5), (True, True), (None, None), ("3.0", "3.0"), (1e300, 1e300),
    (float("inf"), float("inf")),
])
def test_a_float_that_is_whole_becomes_a_whole_number(value, told):
    assert (whole(value), type(whole(value))) == (told, type(told))


def test_a_site_is_found_by_its_number_however_it_is_written():
    assert site_key("Site 7.0") == site_key("site-7")
