"""Many names on one line: the first of them, and how many more there are."""

from collections.abc import Sequence

SHOWN = 8


def first_of(names: Sequence[str], shown: int = SHOWN, mark: str = ", ") -> str:
    """Return the first names and how many more there are, such as `a, b and 3 more`.

    Args:
        names: In the order in which they are told.
        shown: How many are named at most.
        mark: What stands between two names.
    """
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return mark.join(names[:shown]) + more
