"""What a ledger's lines must say together: their order, their settles, what they were allowed."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from braing3n.audit.findings import Finding
from braing3n.audit.ledger_line import ZEROS, Line, Seen

_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
_LIMIT = re.compile(f"epsilon {_NUMBER} delta {_NUMBER}")
# In these a settle says what its reserve said.
_KEPT = ("run", "stage", "round_index", "cohort", "what", "plan_digest", "weights_digest")
STAGES = ("pretrain", "decoder", "diffusion")


@dataclass(frozen=True)
class Work:
    """A piece of work that costs privacy, as accountants see it.

    Attributes:
        line: Its settle, or its reserve where there is none: what is reserved counts in full.
        entry: Number of that line.
        is_settled: Whether it was settled.
    """

    line: Line
    entry: int
    is_settled: bool

    @property
    def reserved_at(self) -> int:
        """Number of the reserve: when it was charged."""
        return self.line.seq if self.line.reserves is None else self.line.reserves


@dataclass(frozen=True)
class Decision:
    """A limit that the hospital has set for a cohort, signed like all entries."""

    entry: int
    time: str
    cohort: str
    epsilon: float
    delta: float


def check_order(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Find lines that are not where they were written.

    Each line must be numbered by those before it, and name the digest of the one before it.
    """
    if not seen:
        yield Finding("deleted", None, "no entry is here, and a ledger has one from its beginning")
    first_at, first_of = _firsts(seen)
    numbers = {one.line.seq for one in seen if one.line is not None}
    last, expected = ZEROS, 0
    for number, one in enumerate(seen):
        line = one.line
        if line is not None and (line.seq, line.prev) != (expected, last):
            name = f"line {number + 1}, entry {line.seq}"
            twin = first_of[line.seq, line.prev]
            if first_at[one.digest] < number:
                yield Finding("replayed", number, f"{name}, stands in line {first_at[one.digest] + 1} "
                              "already")
            elif twin < number and not seen[twin].findings and not one.findings:
                yield Finding("two_writers", number, f"{name}, was written twice: it is another one in "
                              f"line {twin + 1}")
            elif line.seq > expected and expected not in numbers:
                yield Finding("deleted", number, f"before {name}, entry {expected} is not here")
            elif line.seq != expected:
                yield Finding("reordered", number, f"{name}, is not where it was written")
            else:
                yield Finding("chain", number, f"{name}, was written after another line than the one "
                              "before it")
        last, expected = one.digest, (expected if line is None else line.seq) + 1


def _firsts(seen: Sequence[Seen]) -> tuple[dict[str, int], dict[tuple[int, str], int]]:
    """Return where each line, and each place in a ledger, comes first."""
    first_at: dict[str, int] = {}
    first_of: dict[tuple[int, str], int] = {}
    for number, one in enumerate(seen):
        first_at.setdefault(one.digest, number)
        if one.line is not None:
            first_of.setdefault((one.line.seq, one.line.prev), number)
    return first_at, first_of


def check_times(lines: Sequence[tuple[int, Line]]) -> Iterator[Finding]:
    """Find entries that are older than the one before."""
    latest = ""
    for number, line in lines:
        if line.time < latest:
            yield Finding("clock", number, f"entry {number} is of {line.time}, after one of {latest}")
        latest = max(latest, line.time)


def check_settles(lines: Sequence[tuple[int, Line]]) -> Iterator[Finding]:
    """Find settles that do not say what was reserved, and releases that were made twice."""
    reserves = {line.seq: line for _, line in lines if line.kind == "reserve"}
    settled: set[int] = set()
    released: dict[object, int] = {}
    for number, line in lines:
        if line.kind != "settle":
            continue
        reserve = reserves.get(-1 if line.reserves is None else line.reserves)
        why = _wrong_settle(line, reserve, settled)
        if why:
            yield Finding("settle", number, f"entry {number} {why}")
        if line.reserves is not None:
            settled.add(line.reserves)
        first = released.setdefault(line.release, number)
        if first != number:
            yield Finding("released_twice", number, f"entry {number} is of a release that entry "
                          f"{first} has settled already")


def _wrong_settle(line: Line, reserve: Line | None, settled: set[int]) -> str | None:
    if reserve is None or reserve.seq > line.seq:
        return "settles something that was never reserved"
    if reserve.seq in settled:
        return f"settles entry {reserve.seq} a second time"
    other = [name for name in _KEPT if getattr(line, name) != getattr(reserve, name)]
    if other:
        return f"is of another {' and '.join(other)} than its reserve"
    if line.mechanism is None or reserve.mechanism is None or (
            line.mechanism._replace(steps=reserve.mechanism.steps) != reserve.mechanism):
        return "is of another mechanism than its reserve"
    if line.mechanism.steps > reserve.mechanism.steps:
        return "has more steps than its reserve"
    return None


def decisions_of(lines: Sequence[tuple[int, Line]]) -> list[Decision]:
    """Return what the hospital has decided may be spent, in order."""
    found = []
    for number, line in lines:
        limit = _LIMIT.fullmatch(line.detail or "")
        if (line.kind, line.code) != ("note", "budget") or line.cohort is None or limit is None:
            continue
        epsilon, delta = map(float, limit.groups())
        if 0 < epsilon < math.inf and 0 < delta < 1:
            found.append(Decision(number, line.time, line.cohort, epsilon, delta))
    return found


def check_budgets(lines: Sequence[tuple[int, Line]]) -> Iterator[Finding]:
    """Find work that was reserved without a decision on what may be spent, or claimed to be beyond it.

    What claims say is compared here; `recompute.check_spending` compares what the work comes to.
    """
    decisions = {decision.entry: decision for decision in decisions_of(lines)}
    in_force: dict[str | None, Decision] = {}
    limit_of: dict[int | None, Decision | None] = {}  # by reserve; its settle is held to the same
    for number, line in lines:
        if number in decisions:
            in_force[line.cohort] = decisions[number]
        if line.kind == "reserve":
            limit_of[line.seq] = in_force.get(line.cohort)
        limit = limit_of.get(line.seq if line.kind == "reserve" else line.reserves)
        if line.kind == "reserve" and limit is None:
            yield Finding("undecided", number, f"entry {number} spends, and no entry before it says "
                          "what may be spent")
        if limit is not None and line.spent is not None and (
                line.spent.pld > limit.epsilon or line.spent.delta != limit.delta):
            yield Finding("over_budget", number, f"entry {number} claims an epsilon of "
                          f"{line.spent.pld:.6g} at delta {line.spent.delta:g}, and entry "
                          f"{limit.entry} allows {limit.epsilon:g} at delta {limit.delta:g}")


def work_of(lines: Sequence[tuple[int, Line]]) -> list[Work]:
    """Return all that was ever charged for, in order of the reserves."""
    settles: dict[int, tuple[int, Line]] = {}
    for number, line in lines:
        if line.kind == "settle" and line.reserves is not None:
            settles.setdefault(line.reserves, (number, line))
    return [Work(settles[line.seq][1], settles[line.seq][0], True) if line.seq in settles
            else Work(line, number, False)
            for number, line in lines if line.kind == "reserve"]


def shortened(work: Sequence[Work], lines: Sequence[tuple[int, Line]]) -> list[str]:
    """Return how many settles say that less was done than was charged for, in words."""
    reserved = {line.seq: line.mechanism.steps for _, line in lines
                if line.kind == "reserve" and line.mechanism is not None}
    fewer = [(reserved[one.reserved_at], one.line.mechanism.steps) for one in work
             if one.is_settled and one.line.mechanism is not None
             and one.line.mechanism.steps < reserved[one.reserved_at]]
    if not fewer:
        return []
    return [f"{len(fewer)} settles say that {sum(done for _, done in fewer)} steps were done, of "
            f"{sum(all_ for all_, _ in fewer)} that were charged for; epsilon believes them, though "
            "this version's software always does all of them"]


def gaps(lines: Sequence[tuple[int, Line]]) -> list[str]:
    """Return where rounds of training are missing between others, in words.

    Nothing can be left out of a chain that holds. So these are rounds that the site was not asked
    for, or in which it failed before it charged; where it refused, it says so.
    """
    rounds: dict[tuple[str | None, str | None], set[int]] = {}
    for _, line in lines:
        if line.what == "update" or line.kind == "refuse":
            rounds.setdefault((line.run, line.stage), set()).add(line.round_index or 0)
    told = []
    for (run, stage), there in rounds.items():
        missing = sorted(set(range(max(there))) - there) if max(there) < 10**6 else []
        if missing:
            named = ", ".join(str(number + 1) for number in missing[:20])
            told.append(f"run {run}, {stage}: nothing is said of round {named}"
                        + (f" and {len(missing) - 20} more" if len(missing) > 20 else ""))
    return told
