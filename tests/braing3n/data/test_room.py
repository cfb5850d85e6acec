import os
import time

import pytest

from braing3n.data.room import Room, folder_bytes

HOUR_S = 3600.0


@pytest.fixture
def put(tmp_path):
    """Write a file of a number of bytes, used some hours ago."""

    def write(name, num_bytes, hours_ago):
        path = tmp_path / "ab" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(num_bytes))
        then = time.time() - hours_ago * HOUR_S
        os.utime(path, (then, then))
        return path

    return write


def names(tmp_path):
    return {path.name for path in tmp_path.rglob("*") if path.is_file()}


def test_the_longest_unused_go_first_and_no_more_than_need_to(tmp_path, put):
    for name, hours_ago in (("c", 30), ("a", 50), ("b", 40)):
        put(name, 300, hours_ago)
    room = Room(tmp_path, 1000)
    assert room.fits(100)
    assert not room.fits(101)
    assert room.take(100)
    assert names(tmp_path) == {"a", "b", "c"}
    put("new", 100, 0)
    assert room.take(250)
    assert names(tmp_path) == {"b", "c", "new"}


def test_what_was_used_within_the_hour_is_never_removed_for_another(tmp_path, put):
    put("recent", 500, 1.9)  # its time may be an hour behind its use
    put("old", 400, 2.1)
    room = Room(tmp_path, 1000)
    assert not room.take(600)
    assert names(tmp_path) == {"recent"}
    assert room.take(450)


def test_a_folder_that_is_too_small_for_its_work_does_not_go_round_and_round(tmp_path, put):
    room = Room(tmp_path, 1000)
    for number in range(50):
        if room.take(90):
            put(f"{number}", 90, 0)
    assert names(tmp_path) == {str(number) for number in range(11)}


def test_nothing_is_removed_for_what_can_never_fit(tmp_path, put):
    put("old", 10, 100)
    assert not Room(tmp_path, 1000).take(1001)
    assert names(tmp_path) == {"old"}


def test_a_lowered_limit_holds_at_once(tmp_path, put):
    put("recent", 500, 0.1)
    put("older", 500, 0.5)
    Room(tmp_path, 600)
    assert names(tmp_path) == {"recent"}


def test_a_time_that_lies_ahead_protects_nothing(tmp_path, put):
    put("ahead", 900, -1000)
    assert Room(tmp_path, 1000).take(500)
    assert names(tmp_path) == set()


def test_what_others_wrote_meanwhile_counts(tmp_path, put):
    room = Room(tmp_path, 1000)
    put("theirs", 950, 0)
    assert room.take(900)      # it thinks that there is room,
    assert not room.take(200)  # and looks before it would write more
    assert folder_bytes(tmp_path) == 950


def test_a_full_folder_is_not_looked_through_for_every_file(tmp_path, put, monkeypatch):
    put("recent", 990, 0)
    room = Room(tmp_path, 1000)
    looks = []
    clear = room._clear
    monkeypatch.setattr(room, "_clear", lambda *a, **k: (looks.append(a), clear(*a, **k)))
    assert not any(room.take(500) for _ in range(100))
    assert len(looks) == 1


def test_files_beside_the_entries_do_not_count(tmp_path, put):
    (tmp_path / "index").write_bytes(bytes(5000))
    put("entry", 10, 0)
    assert folder_bytes(tmp_path) == 10
    assert folder_bytes(tmp_path / "absent") == 0
