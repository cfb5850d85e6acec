"""Questions to sites about probes: sent, read with suspicion, and counted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flwr.app import Message, RecordDict

from braing3n.errors import ProtocolError
from braing3n.evaluation.probe_wire import Numbers
from braing3n.plan import Part
from braing3n.probe_messages import ProbeOrder, ProbeReport
from braing3n.protocol import Reply, Task
from braing3n.weights import Doubles
from server.messages import read_doubles, record
from server.outcome import Frozen
from server.strategy import Strategy

Answer = TypeVar("Answer")


@dataclass
class Asking:
    """The sites as they are asked for probes, and what that took.

    Attributes:
        strategy: How they are asked.
        task: What every question belongs to.
        frozen: The encoder, for sites that lack it.
        exchanges: Questions, each to all sites that it concerns.
        bytes_down: Payload sent, the encoder apart.
        bytes_up: Payload received.
        bytes_frozen: Payload of the encoder, where it had to be sent.
        seconds: Wall time.
    """

    strategy: Strategy
    task: Task
    frozen: Mapping[Part, Frozen]
    exchanges: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    bytes_frozen: int = 0
    seconds: float = 0.0

    def ask(
        self, orders: Mapping[str, tuple[ProbeOrder, Doubles | None]],
        read: Callable[[str, ProbeReport, Numbers], Answer],
    ) -> tuple[dict[str, Answer], dict[str, str]]:
        """Return by site what was read of its answer, and why each of the others gave none.

        Args:
            orders: What each site is asked, and the array that goes with it.
            read: Reads a site's report and takes what it announces from its array; raises where
                they do not fit.
        """
        answers: dict[str, Answer] = {}
        built: dict[int, RecordDict] = {}

        def take(message: Message, reply: Reply) -> None:
            report = reply.probe
            if report is None or report.tasks.keys() != orders[reply.site][0].tasks.keys():
                raise ProtocolError("an answer about probes is not about what was asked",
                                    expected="a report on each task", found="another",
                                    fix="look into that site's log")
            numbers = Numbers(read_doubles(message))
            answer = read(reply.site, report, numbers)
            numbers.end()
            answers[reply.site] = answer

        contents = {}
        for member in self.strategy.members:
            if member.name in orders:
                order, array = orders[member.name]
                if id(order) not in built:  # sites that are asked the same share it in memory
                    built[id(order)] = record(self.task.model_copy(update={"probe": order}), array)
                contents[member] = built[id(order)]
        outcome = self.strategy.ask_each("query.probe", self.task, contents, take, self.frozen)
        self.exchanges += 1
        self.bytes_down += outcome.bytes_down
        self.bytes_up += outcome.bytes_up
        self.bytes_frozen += outcome.bytes_frozen
        self.seconds += outcome.seconds
        return answers, outcome.refused

    def as_json(self) -> dict[str, Any]:
        """Return what it took, as it stands in run.json."""
        return {"exchanges": self.exchanges, "bytes_down": self.bytes_down,
                "bytes_up": self.bytes_up, "bytes_frozen": self.bytes_frozen,
                "seconds": round(self.seconds, 3)}
