"""See `braing3n.moments`: these names are here until all of `server` imports them from there."""

from datetime import datetime

from braing3n import moments
from braing3n.moments import Moment, check_not_ahead, to_moment, to_text

__all__ = ["Moment", "check_not_ahead", "to_moment", "to_text", "utc_now"]


def utc_now() -> datetime:
    """Return what time it is."""
    return moments.utc_now()
