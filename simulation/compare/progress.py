"""What a comparison that is being trained shows: each arm's stage, round and time."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from braing3n.plan import Plan
from simulation.bars import Bars, read_record
from simulation.compare.arms import Arm, arm_folder

PLAIN_EVERY_S = 15.0

_KINDS: dict[str, str] = {"pooled": "with all scans at one place", "federated": "federated",
                          "drawn": "with some sites a round", "without": "without one site",
                          "local": "of a site alone"}


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
        self._total = sum(arm.num_at_work for arm in arms)
        self._begun_with = self._share(self._states())
        self._last = self._began
        self._bars = Bars(console)

    def __enter__(self) -> "ArmsProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def announce(self, parallel: int) -> None:
        """Say which arms are trained, for how long, and which go on from where.

        Args:
            parallel: Arms at a time.
        """
        states = self._states()
        kinds = [f"{sum(arm.kind == kind for arm in self._arms)} {text}"
                 for kind, text in _KINDS.items() if any(arm.kind == kind for arm in self._arms)]
        self._say(f"{len(self._arms)} arms of {self._rounds} rounds each ({', '.join(kinds)}), "
                  f"{parallel} at a time")
        trained = [name for name, (_, done) in states.items() if done >= 1]
        if trained:
            self._say(f"trained already: {', '.join(trained)}")
        begun = [f"{name} in {where}" for name, (where, done) in states.items() if 0 < done < 1]
        if begun:
            self._say(f"going on: {'; '.join(begun)}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(self) -> None:
        """Read the records once, and show what they say."""
        states = self._states()
        share = self._share(states)
        num_done = sum(done >= 1 for _, done in states.values())
        now = time.monotonic()
        running = {name: (where, done) for name, (where, done) in states.items() if 0 < done < 1}
        headline = f"{num_done}/{len(states)} arms trained{self._left(share, now)}"
        if self._bars.is_live:
            self._bars.show("training", "training", share, headline)
            for name, (where, done) in running.items():
                self._bars.show(name, f"  {name}", done, where)
            self._bars.keep({"training", *running})
            return
        if now - self._last < PLAIN_EVERY_S and num_done < len(states):
            return
        self._last = now
        texts = "; ".join(f"{name} {where}" for name, (where, _) in running.items())
        self._say(f"[{now - self._began:.0f} s] {headline} {texts}".rstrip())

    def _states(self) -> dict[str, tuple[str, float]]:
        return {arm.name: self._state(arm) for arm in self._arms}

    def _share(self, states: Mapping[str, tuple[str, float]]) -> float:
        """Return the share of all work that is done; an arm's is that of as many sites as it has."""
        return sum(states[arm.name][1] * arm.num_at_work for arm in self._arms) / self._total

    def _left(self, share: float, now: float) -> str:
        gained = share - self._begun_with
        if gained < 0.02 or share >= 1:
            return ""
        return f", about {(now - self._began) / gained * (1 - share) / 60:.0f} min left"

    def _state(self, arm: Arm) -> tuple[str, float]:
        """Return where an arm is, and the share of its rounds that are done."""
        run = read_record(arm_folder(self._out, arm) / "run.json")
        if str(run.get("status", "")).startswith("completed"):
            return "trained", 1.0
        stages = run.get("stages") or []
        done = sum(len(stage["participation"]) for stage in stages)
        if not stages:
            return "starting", 0.0
        last = stages[-1]
        number = min(len(last["participation"]) + 1, last["rounds"])
        return f"{last['name']} round {number}/{last['rounds']}", min(done / self._rounds, 0.999)
