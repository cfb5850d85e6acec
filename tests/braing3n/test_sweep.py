from typing import Any

import pytest

from braing3n.errors import ConfigError
from braing3n.sweep import apply_sweep


def swept(content: dict[str, Any], sweep: str) -> dict[str, Any]:
    apply_sweep(content, sweep)
    return content


@pytest.mark.parametrize(("text", "value"), [
    ("3", 3), ("1e-3", 1e-3), ("0.5", 0.5), ("null", None), ("demo", "demo"), ("true", True),
    ("[age,sex]", ["age", "sex"]), ('{"name":"fedavg"}', {"name": "fedavg"}), ("[x", "[x")])
def test_a_value_is_a_number_where_it_reads_as_one_and_else_what_yaml_makes_of_it(
    text: str, value: object
) -> None:
    assert swept({"a": 0}, f"a={text}") == {"a": value}


def test_a_group_that_the_file_leaves_out_is_made() -> None:
    assert swept({"a": 1}, "b.c=2 b.d=3") == {"a": 1, "b": {"c": 2, "d": 3}}


@pytest.mark.parametrize("sweep", ["a", "a.b=3", "a=1 b"])
def test_what_is_no_replacement_is_named(sweep: str) -> None:
    with pytest.raises(ConfigError) as error:
        swept({"a": 1}, sweep)
    assert error.value.found in sweep.split()
