"""What a comparison that is being trained shows: each arm's stage, round and time."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from braing3n.plan import Plan
from simulation.compare.arms import Arm
from simulation.compare.training import arm_folder

PLAIN_EVERY_S = 15.0


class ArmsProgress:
    """Shows the arms by reading the record that each run keeps.

    On a terminal: a bar for all, and one for each arm that is being trained. Elsewhere: a line
    every fifteen seconds.

    Args:
        out: The comparison's folder.
        plan: The federation's plan.
        arms: All of them.
        console: Where to show it.
    """

    def __init__(self, out: Path, plan: Plan, arms: Sequence[Arm], console: Console) -> None:
        self._out, self._arms, self._console = out, arms, console
        self._rounds = sum(plan.stage(name).rounds for name in plan.stage_names)
        self._began = time.monotonic()
        self._begun_with = sum(self._state(arm)[1] for arm in arms)
        self._last = self._began
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(TextColumn("{task.description}"), BarColumn(),
                                  TextColumn("{task.fields[detail]}"), TimeElapsedColumn(),
                                  console=console)

    def __enter__(self) -> "ArmsProgress":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def update(self) -> None:
        """Read the records once, and show what they say."""
        states = {arm.name: self._state(arm) for arm in self._arms}
        share = sum(done for _, done in states.values()) / len(states)
        num_done = sum(done >= 1 for _, done in states.values())
        now = time.monotonic()
        running = {name: (where, done) for name, (where, done) in states.items() if 0 < done < 1}
        headline = f"{num_done}/{len(states)} arms trained{self._left(share, now)}"
        if self._console.is_terminal:
            self._show("training", share, headline)
            for name, (where, done) in running.items():
                self._show(name, done, where)
            for name in set(self._bars) - set(running) - {"training"}:
                self._progress.update(self._bars[name], visible=False)
            return
        if now - self._last < PLAIN_EVERY_S and num_done < len(states):
            return
        self._last = now
        texts = "; ".join(f"{name} {where}" for name, (where, _) in running.items())
        self._console.print(f"[{now - self._began:.0f} s] {headline} {texts}".rstrip(), markup=False,
                            highlight=False, soft_wrap=True)

    def _left(self, share: float, now: float) -> str:
        gained = share - self._begun_with / len(self._arms)
        if gained < 0.02 or share >= 1:
            return ""
        return f", about {(now - self._began) / gained * (1 - share) / 60:.0f} min left"

    def _show(self, key: str, share: float, detail: str) -> None:
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(key, total=1.0, detail="")
        self._progress.update(self._bars[key], completed=share, detail=detail)

    def _state(self, arm: Arm) -> tuple[str, float]:
        """Return where an arm is, and the share of its rounds that are done."""
        run = _read(arm_folder(self._out, arm) / "run.json")
        if str(run.get("status", "")).startswith("completed"):
            return "trained", 1.0
        stages = run.get("stages") or []
        done = sum(len(stage["participation"]) for stage in stages)
        if not stages:
            return "starting", 0.0
        last = stages[-1]
        number = min(len(last["participation"]) + 1, last["rounds"])
        return f"{last['name']} round {number}/{last['rounds']}", min(done / self._rounds, 0.999)


def _read(path: Path) -> dict[str, Any]:
    """Return a file that another process may be replacing; empty if it is not there yet."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
