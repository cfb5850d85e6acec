"""Progress that is read from records which other processes keep."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn


class Bars:
    """Bars on a terminal, by key; elsewhere nothing, so that plain lines can be printed instead.

    Args:
        console: Where to show them.
        more: Columns behind description, bar, detail and time.
    """

    def __init__(self, console: Console, *more: ProgressColumn) -> None:
        self.is_live = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(), *more, console=console)
        self._bars: dict[str, TaskID] = {}

    def start(self) -> None:
        """Begin to show them."""
        if self.is_live:
            self._progress.start()

    def stop(self) -> None:
        """Leave them as they are."""
        if self.is_live:
            self._progress.stop()

    def show(self, key: str, description: str, share: float, detail: str) -> None:
        """Show one bar at a share of its length."""
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(description, total=1.0, detail="")
        self._progress.update(self._bars[key], description=description, completed=share,
                              detail=detail, visible=True)

    def keep(self, keys: Collection[str]) -> None:
        """Hide all other bars."""
        for key, bar in self._bars.items():
            if key not in keys:
                self._progress.update(bar, visible=False)


def read_record(path: Path) -> dict[str, Any]:
    """Return a file that another process may be replacing; empty if it is not there yet."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
