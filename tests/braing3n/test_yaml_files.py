from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.errors import ConfigError
from braing3n.yaml_files import StrictModel, load_yaml, parse


class Inner(StrictModel):
    rounds: int
    rate: float = 1.0


class Outer(StrictModel):
    name: str
    inner: Inner


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text)
    return path


def test_a_number_without_a_dot_before_its_exponent_is_a_number(tmp_path: Path) -> None:
    assert load_yaml(write(tmp_path, "a: 1e-5\nb: -2E3\nc: 7\nd: x1e5\n")) == {
        "a": 1e-5, "b": -2000.0, "c": 7, "d": "x1e5"
    }


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 3") as caught:
        load_yaml(write(tmp_path, "a: 1\nb: 2\na: 3\n"))
    assert "`a` is given twice" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1\n", "just words", "a: [1", "a: \x00", "? [a, b]\n: 1\n"])
def test_a_file_that_is_no_mapping_ends_in_a_config_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_yaml(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_yaml(tmp_path / "nowhere.yaml")


def test_every_mistake_is_told_at_once_with_its_path() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Outer, {"inner": {"ronds": 3, "rate": "fast"}}, "x.yaml")
    text = str(caught.value)
    assert "4 mistakes" in text
    assert "`name` is given" in text
    assert "`inner.rounds` is given" in text
    assert "no key `inner.ronds` (did you mean `rounds`?)" in text
    assert "`inner.rate: fast`" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="1 mistake"):
        parse(Inner, {"rounds": 1, "rate": value}, "x.yaml")


def test_a_setting_that_contains_itself_is_refused(tmp_path: Path) -> None:
    content = load_yaml(write(tmp_path, "name: &a [*a]\n"))
    with pytest.raises(ConfigError, match="cannot be read"):
        parse(Outer, content, "x.yaml")


def test_text_is_not_taken_for_a_number_nor_a_number_for_text() -> None:
    with pytest.raises(ConfigError):
        parse(Inner, {"rounds": "3"}, "x.yaml")
    with pytest.raises(ConfigError):
        parse(Outer, {"name": 3, "inner": {"rounds": 1}}, "x.yaml")


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "inner", "x"]), json_like, max_size=3))
def test_no_content_ends_in_anything_but_a_model_or_a_config_error(content: dict) -> None:
    try:
        assert isinstance(parse(Outer, content, "x.yaml"), Outer)
    except ConfigError as error:
        assert "mistake" in str(error)


def test_a_folder_in_place_of_a_file_gets_advice_of_its_own(tmp_path):
    with pytest.raises(ConfigError, match="name a file in it"):
        load_yaml(tmp_path)
