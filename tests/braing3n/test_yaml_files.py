from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError, model_validator

import simulation
from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig
from braing3n.errors import ConfigError
from braing3n.plan import Plan
from braing3n.yaml_files import StrictModel, load_yaml, misfit, parse


class Inner(StrictModel):
    rounds: int
    rate: float = 1.0


class Outer(StrictModel):
    name: str
    inner: Inner


class Ordered(StrictModel):
    low: int = 0
    high: int = 1
    inner: Inner | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Ordered":
        if self.inner is not None and self.inner.rounds > self.high:
            raise misfit(self, {"low": ("less", "lower `low`"),
                                "inner.rounds": ("at most high", "lower `rounds`")})
        if self.low > self.high:
            raise ValueError("low is at most high")  # names no key
        return self


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


def test_a_rule_over_several_keys_names_each_with_what_was_found_and_what_to_do() -> None:
    class Whole(StrictModel):
        part: Ordered

    with pytest.raises(ConfigError) as caught:
        parse(Whole, {"part": {"inner": {"rounds": 3}}}, "x.yaml")
    assert str(caught.value) == (
        "x.yaml has 2 mistakes\n"
        "  expected: \n    1. `part.low`: less\n    2. `part.inner.rounds`: at most high\n"
        "  found:    \n    1. `part.low: 0` (its default)\n    2. `part.inner.rounds: 3`\n"
        "  to do:    lower `low`; lower `rounds`; then run the command again")


def test_a_rule_that_names_no_key_is_told_without_an_empty_one() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Ordered, {"low": 3, "high": 2}, "x.yaml")
    assert caught.value.expected == "low is at most high"
    assert caught.value.found == "{low: 3, high: 2}"


def test_a_key_that_is_empty_is_shown_as_such() -> None:
    with pytest.raises(ConfigError, match=r"no key `inner\.''`"):
        parse(Outer, {"name": "a", "inner": {"rounds": 1, "": 2}}, "x.yaml")


def test_a_misfit_is_an_error_of_values_where_nothing_is_parsed() -> None:
    with pytest.raises(ValidationError) as caught:
        BudgetConfig(epsilon=1.0, stage_epsilon={"decoder": 2.0})
    assert [error["loc"] for error in caught.value.errors()] == [("stage_epsilon", "decoder")]


SECTIONS = [*SiteConfig.model_fields, *Plan.model_fields, "low", "high", "inner", ""]
KEYS = st.sampled_from([*SECTIONS, "draw", "folder", "table", "epsilon", "stage_epsilon", "counts",
                        "pretrain", "privacy", "local_steps", "rounds", "encrypt", "key_file"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(-1, 2) | st.text("abc/", max_size=4)
    | st.sampled_from(["exact", "noised", "hd-bet", "affine", "even"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)


SITE = {"name": "a", "data": {"folder": "bids"}, "state_dir": "s"}
PLAN = load_yaml(Path(simulation.__file__).parent / "plans" / "demo-dp.yaml")
# Rules over several keys hold where each key by itself is right.
ADDED = st.fixed_dictionaries({}, optional={
    "low": st.integers(0, 3), "high": st.integers(0, 3),
    "budget": st.sampled_from([None, {"epsilon": 1.0}]),
    "release": st.sampled_from([{"counts": "exact"}, {"losses": "noised"}]),
    "probe_methods": st.just(["ridge"]), "probes": st.just(["age", "age"]),
    "sites_per_round": st.just(1), "cache": st.just({"encrypt": True})})


@given(st.dictionaries(KEYS, VALUES, max_size=6) | ADDED,
       st.sampled_from([(SiteConfig, {}), (SiteConfig, SITE), (Plan, PLAN), (Ordered, {})]))
def test_no_message_has_an_empty_key(change: dict, whole: tuple[type[StrictModel], dict]) -> None:
    model, content = whole
    known = {key: value for key, value in change.items() if key in model.model_fields}
    try:
        for given_keys in (known, change):
            parse(model, {**content, **given_keys}, "x.yaml")
    except ConfigError as error:
        assert "``" not in str(error)
