"""A progress bar for work that counts its items; plain lines where there is no terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_EVERY_S = 5.0


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function to be called with (items done, items in all)."""
    if not console.is_terminal:
        last = [time.monotonic()]

        def print_line(done: int, total: int) -> None:
            if done == total or time.monotonic() - last[0] > PLAIN_EVERY_S:
                last[0] = time.monotonic()
                console.print(f"{what}: {done}/{total}", markup=False, highlight=False)

        yield print_line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
