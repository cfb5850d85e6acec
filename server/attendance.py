"""Which sites are in a run, from when on, and which nodes were not let in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from braing3n.plan import STAGE_NAMES, StageName

# A site, a stage, and the round of it before which something changed, from 1.
Event = dict[str, Any]
_BEGINNING = (0, 1)


@dataclass
class Attendance:
    """Who is in a run.

    Attributes:
        sites: All that ever took part, by name.
        strangers: What was wrong with nodes that do not, by name or node id.
        num_expected: How many nodes were waited for.
        joined: From which round on sites take part that were not there at the beginning.
        revoked: Before which round sites were shut out.
    """

    sites: tuple[str, ...] = ()
    strangers: dict[str, str] = field(default_factory=dict)
    num_expected: int = 0
    joined: list[Event] = field(default_factory=list)
    revoked: list[Event] = field(default_factory=list)

    def join(self, names: Sequence[str], stage: StageName, number: int) -> None:
        """Take up sites that were not there before round `number` of a stage."""
        self.sites = tuple(sorted({*self.sites, *names}))
        self.joined += _events(names, stage, number)

    def change(
        self, joined: Sequence[str], revoked: Sequence[str], strangers: dict[str, str],
        stage: StageName, number: int,
    ) -> bool:
        """Take up and shut out sites before round `number` of a stage; tell whether that is news."""
        is_news = bool(joined or revoked) or strangers != self.strangers
        self.join(joined, stage, number)
        self.revoked += _events(revoked, stage, number)
        self.strangers = strangers
        return is_news

    @property
    def current(self) -> list[str]:
        """The sites that were not shut out, or that joined after."""
        return [site for site in self.sites if _last(self.joined, site) >= _last(self.revoked, site)]

    def as_json(self) -> dict[str, Any]:
        """Return what stands in run.json."""
        return {"sites": list(self.sites), "strangers": self.strangers, "joined": self.joined,
                "revoked": self.revoked}

    def words(self, rounds: Mapping[StageName, int]) -> list[str]:
        """Return who came late, and who was shut out: `with site-c from decoder round 3 on`.

        Args:
            rounds: Of each stage. What is before the round after its last is its evaluation.
        """
        late = [event for event in self.joined if _place(event) > _BEGINNING]
        return [*(f"with {names} from {when} on" for when, names in _by_place(late, rounds)),
                *(f"without {names} from {when} on (revoked)"
                  for when, names in _by_place(self.revoked, rounds))]


def _events(names: Sequence[str], stage: StageName, number: int) -> list[Event]:
    return [{"site": name, "stage": stage, "round": number} for name in names]


def _place(event: Mapping[str, Any]) -> tuple[int, int]:
    return STAGE_NAMES.index(event["stage"]), event["round"]


def _last(events: Sequence[Event], site: str) -> tuple[int, int]:
    return max((_place(event) for event in events if event["site"] == site), default=(-1, 0))


def _by_place(
    events: Sequence[Event], rounds: Mapping[StageName, int]
) -> Iterator[tuple[str, str]]:
    """Give each place with the names of its sites, in words, in the order of places."""
    for _, group in groupby(sorted(events, key=_place), key=_place):
        at = list(group)
        stage, number = at[0]["stage"], at[0]["round"]
        is_over = number > rounds.get(stage, number)
        yield (f"{stage} evaluation" if is_over else f"{stage} round {number}",
               ", ".join(sorted(event["site"] for event in at)))
