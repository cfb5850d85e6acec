"""Times as files say them, and what to say when two machines do not agree on the time."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from braing3n.errors import ConfigError

# Flower refuses a node whose clock is further off than this.
MAX_AHEAD_S = 300
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def to_text(moment: datetime) -> str:
    """Return a time as files say it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def to_moment(text: str) -> datetime:
    """Return what `to_text` wrote.

    Raises:
        ValueError: It is something else.
    """
    moment = datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    if to_text(moment) != text:
        raise ValueError("a time as 2026-01-31T23:59:59Z")
    return moment


def _checked(text: str) -> str:
    to_moment(text)
    return text


Moment = Annotated[str, Field(max_length=20), AfterValidator(_checked)]


def utc_now() -> datetime:
    """Return what time it is."""
    return datetime.now(UTC)


def check_not_ahead(text: str, what: str, now: datetime) -> None:
    """Check that a file was not made in the future.

    Raises:
        ConfigError: It was: one of two clocks is wrong.
    """
    if to_moment(text) - now > timedelta(seconds=MAX_AHEAD_S):
        raise ConfigError(f"{what} was made in the future", found=f"{text}; it is {to_text(now)} here",
                          expected=f"clocks that agree to {MAX_AHEAD_S} seconds",
                          fix="set the clocks of both machines (NTP); without, no site can connect")
