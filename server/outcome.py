"""What came of rounds: one round's outcome, a stage's record, a part that is trained no more."""

from dataclasses import dataclass, field
from typing import Any

from braing3n.plan import Part, StageName
from braing3n.protocol import Reply
from braing3n.weights import State, Vector
from server.attendance import Attendance


@dataclass(frozen=True)
class Frozen:
    """A part that is trained no more: it is sent to a site once, and named by digest after."""

    state: State
    digest: str


@dataclass
class Round:
    """What came of one round.

    Attributes:
        asked: Names of the sites that were asked.
        replies: What each site reported.
        refused: Why each of the others is not in the result, as one fixed word.
        bytes_down: Payload sent to sites, frozen parts apart.
        bytes_up: Payload received.
        bytes_frozen: Payload of frozen parts that had to be sent.
        seconds: Wall time.
        mean: The weighted mean of the sites' arrays, where they sent any.
    """

    asked: tuple[str, ...]
    replies: dict[str, Reply] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0
    bytes_frozen: int = 0
    seconds: float = 0.0
    mean: Vector | None = None

    @property
    def answered(self) -> tuple[str, ...]:
        """Names of the sites whose replies are in the result."""
        return tuple(sorted(self.replies))


@dataclass
class StageRecord:
    """What one stage took and gave, summed over its rounds."""

    name: StageName
    rounds: int
    participation: list[dict[str, Any]] = field(default_factory=list)
    other_exchanges: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    bytes_down: int = 0
    bytes_up: int = 0
    bytes_frozen: int = 0
    peak_memory_mb: float = 0.0
    site_peak_memory_mb: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    num_skipped: dict[str, int] = field(default_factory=dict)
    privacy: dict[str, dict[str, Any]] = field(default_factory=dict)
    start: dict[str, str] = field(default_factory=dict)

    def add(self, number: int | None, what: str, outcome: Round) -> None:
        """Take an exchange into the record: a training round, counted from 1, or another."""
        entry = {
            "asked": list(outcome.asked), "answered": list(outcome.answered),
            "refused": dict(sorted(outcome.refused.items())), "seconds": round(outcome.seconds, 3),
            "bytes_down": outcome.bytes_down, "bytes_up": outcome.bytes_up,
            "bytes_frozen": outcome.bytes_frozen,
        }
        if number is None:
            self.other_exchanges.append({"what": what, **entry})
        else:
            self.participation.append({"round": number, **entry})
        self.seconds += outcome.seconds
        self.bytes_down += outcome.bytes_down
        self.bytes_up += outcome.bytes_up
        self.bytes_frozen += outcome.bytes_frozen
        self.peak_memory_mb = max(self.peak_memory_mb, peak_memory_mb())  # a run may go on elsewhere
        peaks = [reply.peak_memory_mb for reply in outcome.replies.values()]
        self.site_peak_memory_mb = max([self.site_peak_memory_mb, *peaks])
        for site, reply in outcome.replies.items():
            if reply.privacy is not None:  # the last word on ε; steps of all rounds
                told = reply.privacy.model_dump(mode="json")
                before = self.privacy.get(site, {})
                told["steps"] += before.get("steps", 0)
                if told["signal_to_noise"] is None:
                    told["signal_to_noise"] = before.get("signal_to_noise")
                self.privacy[site] = told
        self.num_skipped.update({site: reply.num_skipped for site, reply in outcome.replies.items()
                                 if reply.num_skipped})

    def add_delivery(self, part: Part, outcome: Round) -> None:
        """Take the sending of a frozen part into the record.

        A site that missed it is no loss yet: it asks for the part when a task names it.
        """
        self.deliveries.append({
            "part": part, "asked": list(outcome.asked),
            "refused": dict(sorted(outcome.refused.items())),
            "seconds": round(outcome.seconds, 3), "bytes_frozen": outcome.bytes_frozen,
        })
        self.seconds += outcome.seconds
        self.bytes_frozen += outcome.bytes_frozen

    def as_json(self) -> dict[str, Any]:
        """Return the record as it stands in run.json.

        `sites_answered` counts the sites that are in the result of every round that asked them.
        """
        asked = {name for entry in self.participation for name in entry["asked"]}
        always = asked - {name for entry in self.participation
                          for name in set(entry["asked"]) - set(entry["answered"])}
        return {
            "name": self.name, "rounds": self.rounds, "start": self.start, "sites_asked": len(asked),
            "sites_answered": len(always), "seconds": round(self.seconds, 3),
            "bytes_down": self.bytes_down, "bytes_up": self.bytes_up,
            "bytes_frozen": self.bytes_frozen, "peak_memory_mb": round(self.peak_memory_mb, 1),
            "site_peak_memory_mb": round(self.site_peak_memory_mb, 1), "metrics": self.metrics,
            "scans_left_out": self.num_skipped,
            "participation": self.participation, "other_exchanges": self.other_exchanges,
            "deliveries": self.deliveries,
        }


def describe_outcome(
    records: list[StageRecord], attendance: Attendance, sites_per_round: int | None = None
) -> str:
    """Return `completed`, or what was lost: `completed with 3 of 4 sites in decoder rounds 2, 5`.

    Args:
        records: Of all stages.
        attendance: Who was in the run.
        sites_per_round: How many sites the plan draws for each round; None is all.
    """
    sites, strangers = attendance.sites, attendance.strangers
    total = max(len(sites) + len(strangers), attendance.num_expected)
    lost = []
    for record in records:
        by_count: dict[tuple[int, str], list[str]] = {}
        for entry in record.participation:
            if len(entry["answered"]) < len(entry["asked"]):
                is_drawn = sites_per_round is not None and len(entry["asked"]) < len(sites)
                of = f"{len(entry['asked'])} drawn" if is_drawn else str(total)
                by_count.setdefault((len(entry["answered"]), of), []).append(str(entry["round"]))
        lost += [f"with {count} of {of} sites in {record.name} round"
                 f"{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
                 for (count, of), numbers in sorted(by_count.items())]
        lost += [f"with {len(entry['answered'])} of {total} sites in {record.name} {entry['what']}"
                 for entry in record.other_exchanges
                 if len(entry["answered"]) < len(entry["asked"])]
    if len(sites) < total:
        names = ", ".join(f"{name}: {why}" for name, why in sorted(strangers.items()))
        lost.insert(0, f"with {len(sites)} of {total} sites admitted ({names or 'others not seen'})")
    lost += attendance.words({record.name: record.rounds for record in records})
    skipped = {site: count for record in records for site, count in record.num_skipped.items()}
    if skipped:
        lost.append("without unreadable scans (" + ", ".join(
            f"{site}: {count}" for site, count in sorted(skipped.items())) + ")")
    return "completed" if not lost else "completed " + "; ".join(lost)


def peak_memory_mb() -> float:
    """Return this process's largest resident memory so far, in MB."""
    import resource  # noqa: PLC0415  # absent on Windows, where only this figure is lost

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
