"""What a running simulation shows: stage, round, each site's step and loss, time left."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import TimeRemainingColumn

from braing3n.plan import Plan
from simulation.bars import Bars, read_record

PLAIN_EVERY_S = 10.0
MOST_SITES = 8


class RunProgress:
    """Shows a run by reading the files that the coordinator and the sites keep.

    On a terminal: one bar for the run and one for each site. Elsewhere: a plain line whenever a
    round ends, and one at least every ten seconds.

    Args:
        out: The run's folder.
        plan: The run's plan.
        console: Where to show it.
    """

    def __init__(self, out: Path, plan: Plan, console: Console) -> None:
        self._out = out
        self._plan = plan
        self._console = console
        self._began = time.monotonic()
        self._total = sum(_work(plan, stage) * plan.stage(stage).rounds for stage in plan.stage_names)
        self._last_line = (0.0, "")
        self._first: tuple[float, float] | None = None
        self.stage = ""
        self._bars = Bars(console, TimeRemainingColumn())

    def __enter__(self) -> "RunProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self) -> bool:
        """Read the files once, show what they say, and return whether they say it is over."""
        run = read_record(self._out / "run.json")
        sites = {path.parent.name: read_record(path)
                 for path in sorted((self._out / "sites").glob("*/progress.json"))}
        if not run.get("stages"):
            self._show("starting Flower's simulation runtime", 0.0, {}, "")
            return _is_over(run)
        stage = run["stages"][-1]
        self.stage = stage["name"]
        finished = len(stage["participation"])
        number = min(finished + 1, stage["rounds"])
        here = {name: what for name, what in sites.items()
                if what.get("stage") == stage["name"] and what.get("round") == number}
        headline = f"{stage['name']} round {number}/{stage['rounds']}"
        self._show(headline, self._done(run, here), here, f"{stage['name']}{finished}")
        return _is_over(run)

    def _done(self, run: dict[str, Any], sites: dict[str, dict[str, Any]]) -> float:
        """Return the share of all local steps that is done, each weighted by its cost."""
        done = sum(_work(self._plan, stage["name"]) * len(stage["participation"])
                   for stage in run["stages"])
        shares = [what["done"] / max(what["total"], 1) for what in sites.values()
                  if what.get("doing") == "training"]
        stage = run["stages"][-1]
        if shares and len(stage["participation"]) < stage["rounds"]:
            done += _work(self._plan, stage["name"]) * sum(shares) / max(len(run["sites"]), 1)
        return min(done / self._total, 1.0)

    def _show(
        self, headline: str, share: float, sites: dict[str, dict[str, Any]], mark: str
    ) -> None:
        details = {name: _detail(what) for name, what in sites.items()}
        if len(sites) > MOST_SITES:  # hundreds of bars help nobody
            details = {"sites at work or done": f"{len(sites)}"}
            sites = {}
        if self._bars.is_live:
            self._bars.show("run", headline, share, "")
            for name, what in sites.items():
                part = what["done"] / max(what["total"], 1)
                self._bars.show(name, f"  {name}", part, details[name])
            return
        now = time.monotonic()
        if mark == self._last_line[1] and now - self._last_line[0] < PLAIN_EVERY_S:
            return
        self._last_line = (now, mark)
        elapsed = now - self._began
        left = self._left(elapsed, share)
        text = "; ".join(f"{name} {detail}" for name, detail in details.items())
        self._console.print(f"[{elapsed:.0f} s] {headline} ({share:.0%}{left}) {text}".rstrip(),
                            markup=False, highlight=False, soft_wrap=True)

    def _left(self, elapsed: float, share: float) -> str:
        """Return the time left, by what was done since the first look: a run may be gone on with."""
        if self._first is None:
            self._first = (elapsed, share) if share else None
            return ""
        began, before = self._first
        if share - before <= 0.02:
            return ""
        return f", about {(elapsed - began) / (share - before) * (1 - share):.0f} s left"


def _is_over(run: dict[str, Any]) -> bool:
    return str(run.get("status", "running")) != "running"


def _work(plan: Plan, stage: Any) -> float:
    """Return the cost of one round of a stage, in seen volumes; epochs are taken as 100 volumes."""
    stage_plan = plan.stage(stage)
    return float(stage_plan.steps(100) * stage_plan.batch_size)


def _detail(what: dict[str, Any]) -> str:
    loss = f", loss {what['loss']:.3f}" if "loss" in what else ""
    return f"{what['doing']} {what['done']}/{what['total']}{loss}"
