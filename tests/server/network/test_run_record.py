"""A run's own record, as those who started it read it."""

import json

import pytest

from server.network.run_record import mark_failed, mark_running, place_of, read_record, status_of

ROUNDS = [{"round": 1}, {"round": 2}]


def write(out, **content):
    (out / "run.json").write_text(json.dumps(content))


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "\xff"])
def test_a_record_that_is_not_there_or_no_record_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content, encoding="latin-1")
    assert read_record(tmp_path) == {}
    assert status_of(tmp_path) == ""
    assert place_of(tmp_path) == "at its beginning"
    mark_failed(tmp_path, "why")
    mark_running(tmp_path)
    assert read_record(tmp_path) == {}


@pytest.mark.parametrize(("stages", "place"), [
    ([], "at its beginning"),
    ([{"name": "pretrain", "participation": []}], "at its beginning"),
    ([{"name": "pretrain", "participation": ROUNDS}], "after round 2 of pretrain"),
    ([{"name": "pretrain", "participation": ROUNDS}, {"name": "decoder", "participation": []}],
     "after round 2 of pretrain"),
    ([{"name": "pretrain", "participation": ROUNDS}, {"name": "decoder", "participation": ROUNDS[:1]}],
     "after round 1 of decoder"),
])
def test_how_far_a_run_is_is_its_last_round(tmp_path, stages, place):
    write(tmp_path, stages=stages)
    assert place_of(tmp_path) == place


def test_a_run_at_work_is_marked_as_failed_with_the_reason_and_the_time(tmp_path):
    write(tmp_path, status="running", ended=None, id="x")
    mark_failed(tmp_path, "stopped by a person")
    found = read_record(tmp_path)
    assert found["status"] == "failed: stopped by a person"
    assert found["ended"]
    assert found["id"] == "x"
    mark_running(tmp_path)
    assert read_record(tmp_path) == {"status": "running", "ended": None, "id": "x"}


@pytest.mark.parametrize("status", ["completed", "completed with 1 of 2 sites", "failed: of itself"])
def test_a_run_that_ended_by_itself_keeps_its_own_words(tmp_path, status):
    write(tmp_path, status=status)
    mark_failed(tmp_path, "stopped by a person")
    assert status_of(tmp_path) == status


@pytest.mark.parametrize("status", ["completed", "completed with 1 of 2 sites", "running"])
def test_only_a_run_that_failed_is_marked_as_going_on(tmp_path, status):
    write(tmp_path, status=status)
    mark_running(tmp_path)
    assert read_record(tmp_path) == {"status": status}
