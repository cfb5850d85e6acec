"""What rounds leave behind: a round's outcome, and a part that is trained no more."""

from dataclasses import dataclass, field

from braing3n.protocol import Reply
from braing3n.weights import State, Vector


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
