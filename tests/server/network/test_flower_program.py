"""Flower's program `flwr`, asked for JSON."""

import os

import pytest
from flwr.common.config import parse_config_args
from hypothesis import given
from hypothesis import strategies as st

from braing3n.errors import RunFailedError
from server.network import flower_program
from server.network.flower_program import ask_flower, run_config

TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x7f"), max_size=20)


@given(st.dictionaries(st.sampled_from(["plan", "sweep", "out"]), TEXTS | st.text("\"'\\= a\n.toml"),
                       min_size=1))
def test_flower_reads_each_text_as_it_was_whatever_is_in_it(values):
    assert parse_config_args([run_config(values)]) == values


@pytest.fixture
def flwr(tmp_path, monkeypatch):
    """Stand in for `flwr` with a line for the shell, and ask it."""

    def ask(line):
        path = tmp_path / "flwr"
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        monkeypatch.setattr(flower_program, "program", lambda name: str(path))
        return ask_flower(("run", "app"), dict(os.environ), tmp_path, "the server's log")

    return ask


def test_the_answer_is_the_object_that_is_printed_whatever_stands_around_it(flwr):
    answer = flwr("""echo Loading; echo '{"success": true, "run-id": "7"}'; echo 'a hint {'""")
    assert answer == {"success": True, "run-id": "7"}


def test_it_is_asked_for_json(flwr):
    assert flwr("""printf '{"args": "%s"}' "$*" """) == {"args": "run app --format json"}


@pytest.mark.parametrize(("line", "found"), [
    ("""echo '{"success": false, "error-message": "no federation"}'; exit 1""", "no federation"),
    ("""echo '{"success": false, "error-message": "no federation"}'""", "no federation"),
    ("echo out of luck >&2; exit 1", "out of luck"),
    ("echo no JSON", "no JSON"),
    ("echo '{ no JSON'", "no JSON"),
    ("echo 7", "7"),
    ("true", "nothing"),
])
def test_a_failure_is_told_in_flowers_words_with_where_to_look(flwr, line, found):
    with pytest.raises(RunFailedError, match="`flwr run` failed") as told:
        flwr(line)
    assert found in told.value.found
    assert told.value.fix == "look into the server's log"


def test_no_answer_is_told_as_that(flwr, monkeypatch):
    monkeypatch.setattr(flower_program, "ANSWER_TIMEOUT_S", 0.2)
    with pytest.raises(RunFailedError, match="does not answer"):
        flwr("exec sleep 60")
