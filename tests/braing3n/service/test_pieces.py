"""Pieces of a message that are still on their way are asked for again soon."""

from collections.abc import Callable
from typing import Any

import pytest

from braing3n.service.pieces import WAITS, ask_sooner


def function() -> Callable[..., Any]:
    def pulls(names: list[str], *, initial_backoff: float = 1, backoff_cap: float = 10,
              max_tries_per_object: int = 500, max_time: float = 7200) -> tuple[float, ...]:
        del names
        return initial_backoff, backoff_cap, max_tries_per_object, max_time

    return pulls


def test_the_pauses_of_a_function_are_shorter_wherever_it_was_imported() -> None:
    pulls = function()
    elsewhere = pulls
    ask_sooner(pulls)
    assert elsewhere([]) == (*WAITS.values(), 7200)
    assert elsewhere([], initial_backoff=3)[0] == 3


def test_a_function_without_these_pauses_is_an_error_and_stays_as_it_is() -> None:
    def other(*, initial_backoff: float = 1) -> float:
        return initial_backoff

    with pytest.raises(TypeError, match="backoff_cap"):
        ask_sooner(other)
    assert other() == 1
    with pytest.raises(TypeError, match="backoff_cap, initial_backoff, max"):
        ask_sooner(lambda: None)
