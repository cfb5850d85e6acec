"""Where Flower's programs are, and what environment they get."""

import sys
from pathlib import Path

import pytest

from braing3n.errors import ConfigError
from braing3n.service.programs import environment, own_ports_directly, program


def test_a_program_that_is_missing_is_told_with_what_to_do():
    with pytest.raises(ConfigError, match="apt install it"):
        program("no-such-program-of-ours", "apt install it")


def test_flowers_programs_are_those_of_this_python():
    assert program("flower-superlink") == str(Path(sys.executable).parent / "flower-superlink")


def test_flower_gets_its_own_home_no_telemetry_and_none_of_the_users_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("FLWR_HOME", "/home/somebody/.flwr")
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    monkeypatch.setenv("FLWR_ANYTHING", "1")
    found = environment(tmp_path)
    assert found["FLWR_HOME"] == str(tmp_path)
    assert found["FLWR_TELEMETRY_ENABLED"] == "0"
    assert "FLWR_ANYTHING" not in found


@pytest.mark.parametrize(("before", "after"), [
    ({}, "127.0.0.1"),
    ({"NO_PROXY": "fl.example.org, 10.0.0.5"}, "127.0.0.1,fl.example.org,10.0.0.5"),
    ({"no_proxy": "b", "NO_PROXY": "a"}, "127.0.0.1,a,b"),
    ({"no_proxy": "127.0.0.1"}, "127.0.0.1"),
    ({"NO_PROXY": ","}, "127.0.0.1"),
])
def test_what_a_proxy_is_not_asked_for_stays_so_by_either_name(before, after):
    assert own_ports_directly(before) == {"NO_PROXY": after, "no_proxy": after}


def test_asking_often_does_not_make_the_environment_longer():
    once = own_ports_directly({"NO_PROXY": "a"})
    assert own_ports_directly(once) == once
