"""How soon a piece of a message that is still on its way is asked for again."""

from collections.abc import Callable
from typing import Any

# Flower's own pauses are 1 s and twice as long each time up to 10 s, and it tries 500 times. Of a round
# in which two sites answer at once they were the most. Here the tries do not run out before the two
# hours after which Flower gives up.
WAITS = {"initial_backoff": 0.05, "backoff_cap": 1.0, "max_tries_per_object": 10_000}


def ask_sooner(pull_objects: Callable[..., Any]) -> None:
    """Shorten the pauses of Flower's function that fetches what a message is made of.

    A message is told of before all of it is there. The pauses are defaults of the function, so that
    all of this process's modules that have imported it have the shorter ones.

    Args:
        pull_objects: Flower's function, or one that gives its defaults to that.

    Raises:
        TypeError: It has no such defaults.
    """
    defaults = getattr(pull_objects, "__kwdefaults__", None) or {}
    if not WAITS.keys() <= defaults.keys():
        raise TypeError(f"Flower's function has no {', '.join(sorted(WAITS.keys() - defaults.keys()))}")
    defaults.update(WAITS)
