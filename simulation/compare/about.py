"""What a reader has to know of a comparison beside its figures: which scans, by which software."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from server.privacy_account import NO_PRIVACY
from server.run_state import versions
from simulation.compare.scans import Scans


def about(source: str, run: Path) -> dict[str, str]:
    """Return data, day, software and what is not promised, as texts by name.

    Args:
        source: Where the scans are from, in words.
        run: One of the arms' runs.
    """
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {
        "scans": source, "made (UTC)": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "software": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "code digest": str(record.get("code_digest")), "privacy": NO_PRIVACY,
    }


def sizes_of(scans: Scans) -> tuple[tuple[str, int, int, int, int], ...]:
    """Return of each site its name, subjects and scans trained on, and subjects and scans held out."""
    def count(site: str, *, is_test: bool) -> tuple[int, int]:
        here = (scans.sites == site) & (scans.is_test == is_test)
        return len(np.unique(scans.subjects[here])), int(here.sum())

    return tuple((site, *count(site, is_test=False), *count(site, is_test=True))
                 for site in np.unique(scans.sites).tolist())
