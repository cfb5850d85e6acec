"""A service's log: one line an event, whatever programs print."""

import errno
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.errors import RunFailedError
from braing3n.service.log import ServiceLog


def relayed(*lines, form="json"):
    stream = io.StringIO()
    log = ServiceLog(form, stream)
    for line in lines:
        log.relay("superlink", line)
    return stream.getvalue().splitlines()


def test_a_line_for_people_has_time_level_source_and_text():
    stream = io.StringIO()
    ServiceLog("text", stream).say("server", "site-a is online", "warning")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning server     site-a is online\n",
                        stream.getvalue())


@pytest.mark.parametrize(("line", "level", "text"), [
    ("INFO :      Starting Flower SuperLink\n", "info", "Starting Flower SuperLink"),
    ("WARNING :   retrying in 0.76 seconds\n", "warning", "retrying in 0.76 seconds"),
    ("ERROR :     refused\n", "error", "refused"),
    ("CRITICAL: the end\n", "error", "the end"),
    ("DEBUG : details\n", "debug", "details"),
    ("2026-01-31T23:59:59Z INFO     [uvicorn.error] Shutting down\n", "info", "Shutting down"),
    ("\x1b[93mWARN \x1b[0m:   low\n", "warning", "low"),
    ("INFORMATION is not a level\n", "info", "INFORMATION is not a level"),
    ("nothing said\n", "info", "nothing said"),
])
def test_a_line_keeps_the_level_that_its_program_gives_it_and_loses_its_colours(line, level, text):
    told = json.loads(relayed(line)[0])
    assert (told["source"], told["level"], told["text"]) == ("superlink", level, text)


@pytest.mark.parametrize("line", ["\n", "   \n", "\x1b[92mINFO \x1b[0m:      \n", "INFO :\n", "INFO\n"])
def test_a_line_without_text_is_not_relayed(line):
    assert relayed(line) == []


def test_marks_that_move_a_terminals_cursor_are_shown_and_not_sent():
    line, = relayed("a\x1b[2Jb\x07c\x00d\n", form="text")
    assert line.endswith("a\\x1b[2Jb\\x07c\\x00d")


def test_a_line_cannot_pass_for_another_programs():
    lines = relayed("x\u20282026-01-01T00:00:00.000Z info    server     all is well\n", form="text")
    assert [line.split()[2] for line in lines] == ["superlink", "superlink"]


def test_a_text_of_several_lines_becomes_one_event_for_each():
    stream = io.StringIO()
    ServiceLog("json", stream).say("server", "what\n  expected: a\n  found:    b", "error")
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [one["text"] for one in told] == ["what", "  expected: a", "  found:    b"]
    assert {one["level"] for one in told} == {"error"}


@given(st.text())
def test_whatever_a_program_prints_each_line_of_the_json_log_is_an_object(text):
    told = [json.loads(line) for line in relayed(text)]
    assert all(set(one) == {"time", "source", "level", "text"} for one in told)


@given(st.text(st.characters(blacklist_categories=("Cs",))))
def test_whatever_a_program_prints_the_text_log_is_printable(text):
    assert all(line.isprintable() for line in relayed(text, form="text"))


class FullDisk(io.StringIO):
    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_as_that():
    with pytest.raises(RunFailedError, match="No space left on device"):
        ServiceLog("text", FullDisk()).say("server", "x")
