from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from braing3n.moments import Moment, to_moment, to_text


@given(st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31), timezones=st.timezones()))
def test_a_time_is_said_in_utc_to_the_second(moment):
    text = to_text(moment)
    assert to_moment(text) == moment.astimezone(UTC).replace(microsecond=0)
    assert TypeAdapter(Moment).validate_python(text) == text


@pytest.mark.parametrize("text", [
    "", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-1-1T00:00:00Z", "2026-01-01 00:00:00Z",
    "2026-01-01T00:00:00", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00+00:00"])
def test_other_texts_are_no_times(text):
    with pytest.raises(ValidationError):
        TypeAdapter(Moment).validate_python(text)


@given(st.text(max_size=22))
def test_any_text_is_a_time_in_the_one_way_or_none(text):
    try:
        assert to_text(to_moment(text)) == text
    except ValueError:
        return
