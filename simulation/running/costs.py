"""What a simulation takes: memory of all its processes together, and time a round."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from braing3n.service.processes import memory_mb, processes_of

EVERY_S = 2.0


class Memory:
    """The largest memory of a run's processes in each stage, by looking every few seconds.

    Args:
        home: The FLWR_HOME that tells the processes; this one is counted beside them.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._last_s = -EVERY_S
        self.peaks_mb: dict[str, float] = {}

    def look(self, stage: str) -> None:
        """Take the memory of this moment into a stage's peak."""
        now = time.monotonic()
        if now - self._last_s < EVERY_S:
            return
        self._last_s = now
        found = memory_mb([*processes_of(self._home), os.getpid()])
        self.peaks_mb[stage] = max(self.peaks_mb.get(stage, 0.0), found)


def costs_table(record: Mapping[str, Any]) -> Table:
    """Return run.json's stages as a table: rounds, seconds a round, peak memory."""
    taken = record.get("simulation", {})
    peaks = taken.get("peak_memory_mb", {})
    is_elsewhere = taken and taken["parallel"] is None
    table = Table("stage", "rounds", "seconds a round",
                  f"peak memory of all processes{', without the cluster' if is_elsewhere else ''}")
    for stage in record["stages"]:
        rounds = stage["participation"]
        seconds = sum(entry["seconds"] for entry in rounds) / max(len(rounds), 1)
        peak = peaks.get(stage["name"])
        table.add_row(stage["name"], str(len(rounds)), f"{seconds:.1f}",
                      "not measured" if peak is None else f"{peak:,.0f} MB")
    return table
