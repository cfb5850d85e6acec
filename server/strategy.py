"""One round: who is asked, how replies are merged as they arrive, and what counts as enough."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from braing3n.errors import BrainG3NError, ProtocolError, RunFailedError
from braing3n.optimizer_plan import MergePlan
from braing3n.plan import Part
from braing3n.protocol import Reply, Task
from braing3n.weights import State, Vector, layout_digest, pack
from server.exchange import Exchange
from server.manifests import ManifestBook
from server.merge import ExactMean
from server.messages import UNREACHABLE, Member, read_reply, read_vector, record, refusal_of, size_of
from server.outcome import Frozen, Round
from server.receipts import ReceiptBook
from server.robust import RobustMerge

Take = Callable[[Message, Reply], None]
_MEAN = MergePlan()


@dataclass(frozen=True)
class Strategy:
    """How rounds are run over one transport.

    Attributes:
        grid: The transport.
        members: The sites.
        min_sites: Fewer usable replies fail the run.
        timeout_s: Seconds that a round waits for its slowest site.
        book: Where the heads of sites' ledgers are receipted.
        manifests: Where what sites say that they have sent is kept.
        spool: A folder for updates that have to be there together; None is the system's.
        wait_for_lost_s: Seconds that a round with enough replies waits for sites whose connection is
            lost, once nothing else is left to wait for.
    """

    grid: Grid
    members: Sequence[Member]
    min_sites: int
    timeout_s: float
    book: ReceiptBook | None = None
    manifests: ManifestBook | None = None
    spool: Path | None = None
    wait_for_lost_s: float = 120.0

    def run_round(
        self, kind: str, task: Task, weights: Vector | None, result_like: State | None,
        frozen: Mapping[Part, Frozen], merge: MergePlan = _MEAN,
    ) -> Round:
        """Send `task` to every member and merge what comes back.

        A site that lacks a frozen part says so; it is sent the part, and the task again. One whose
        connection is lost is sent the task again when it is back; what it had done, it does not do
        or pay for anew. The mean does not depend on who was late.

        Args:
            kind: Flower message type.
            task: What to do.
            weights: Flat global weights, where the task needs them.
            result_like: Names and shapes of the arrays that sites send back; None for no array.
            frozen: Parts that a site may ask for.
            merge: How arrays become one.

        Returns:
            The outcome, however few answered; see `check_enough`.

        Raises:
            RunFailedError: There are too few for the rule by which they are merged.
        """
        contents = dict.fromkeys(self.members, record(task, weights))
        if result_like is None:
            return self.ask_each(kind, task, contents, lambda *_: None, frozen)
        size, layout = sum(t.numel() for t in result_like.values()), layout_digest(result_like)
        if not merge.is_robust:
            mean = ExactMean(size)
            outcome = self.ask_each(kind, task, contents, _taking(
                layout, lambda reply, vector: mean.add(vector, reply.weight)), frozen)
            outcome.mean = mean.mean() if mean.weight else None
            return outcome
        with TemporaryDirectory(dir=self.spool, prefix=".merging-") as folder:
            robust = RobustMerge(merge, size, Path(folder))
            outcome = self.ask_each(kind, task, contents, _taking(
                layout, lambda reply, vector: robust.add(reply.site, vector, reply.weight)), frozen)
            outcome.mean, left_out = robust.merge()
        for name, why in left_out.items():
            del outcome.replies[name]
            outcome.refused[name] = why
        return outcome

    def ask_each(
        self, kind: str, task: Task, contents: Mapping[Member, RecordDict], take: Take,
        frozen: Mapping[Part, Frozen],
    ) -> Round:
        """Send each member its own message about `task`, and give each reply to `take`.

        Args:
            kind: Flower message type.
            task: What replies have to be about.
            contents: What each member is sent; sites that share a content share its memory.
            take: Reads a reply's array; a site by whose reply it raises is refused.
            frozen: Parts that a site may ask for; it is sent them, and its message again.
        """
        began = time.monotonic()
        outcome = Round(asked=tuple(member.name for member in contents), refused={
            member.name: member.absent for member in contents if member.absent is not None})
        waiting, served, lost = set(outcome.asked) - outcome.refused.keys(), set[str](), set[str]()
        while waiting and time.monotonic() < began + self.timeout_s:
            asked = {one: content for one, content in contents.items() if one.name in waiting}
            lacking, lost = self._ask(asked, kind, task, take, outcome, began + self.timeout_s)
            outcome.refused.update(dict.fromkeys(served & lacking.keys(), "missing_part"))
            sites = [one for one in asked if one.name in lacking.keys() - served]
            served |= self._send_missing(sites, lacking, task, frozen, outcome)
            waiting = (lacking.keys() | lost) - outcome.refused.keys() if lacking else set()
        for name in set(outcome.asked) - outcome.replies.keys():
            outcome.refused.setdefault(name, UNREACHABLE if name in lost else "late")
        outcome.seconds = time.monotonic() - began
        return outcome

    def _ask(
        self, contents: Mapping[Member, RecordDict], kind: str, task: Task, take: Take,
        outcome: Round, deadline: float,
    ) -> tuple[dict[str, tuple[Part, ...]], set[str]]:
        """Send the messages, take the replies into `outcome`.

        Returns:
            Which parts sites lack, and who is lost. Where any site lacks a part, nobody waits for
            those that are lost before it has been sent.
        """
        names, lacking = _names(contents), dict[str, tuple[Part, ...]]()
        exchange = Exchange(self.grid, kind, {one.node_id: content for one, content in contents.items()
                                              if one.node_id is not None}, deadline)

        def patience_s() -> float:
            if lacking:
                return 0.0
            num = len(outcome.replies)
            is_needed = num < self.min_sites <= num + len(exchange.lost)
            return math.inf if is_needed else self.wait_for_lost_s

        for node, message in exchange.replies(patience_s):
            name = names[node]
            if message.has_error():
                outcome.refused[name] = refusal_of(node, message)
                continue
            outcome.bytes_up += size_of(message.content)
            try:
                reply = read_reply(message, name, task)
                if self.manifests is not None:
                    self.manifests.take(name, kind, message, reply.seen)
                if reply.missing:
                    lacking[name] = reply.missing
                    continue
                if self.book is not None:
                    self.book.give(name, reply.head)
                take(message, reply)
                outcome.replies[name] = reply
            except BrainG3NError as error:
                outcome.refused[name] = error.code
        outcome.bytes_down += exchange.bytes_down
        return lacking, {names[node] for node in exchange.lost}

    def _send_missing(
        self, sites: Sequence[Member], lacking: Mapping[str, tuple[Part, ...]], task: Task,
        frozen: Mapping[Part, Frozen], outcome: Round,
    ) -> set[str]:
        """Send each site the frozen parts that it lacks, and only those.

        Returns:
            All to whom that was done. A site that was lost meanwhile is not among them.
        """
        lost = set[str]()
        for part in sorted({part for parts in lacking.values() for part in parts}):
            if part not in task.frozen:
                continue  # a site that asks for more than the task names is answered by nothing
            targets = [m for m in sites if part in lacking[m.name] and m.name not in outcome.refused]
            delivery = self.install(targets, task, part, frozen[part])
            lost |= {name for name, why in delivery.refused.items() if why == UNREACHABLE}
            outcome.refused.update({name: why for name, why in delivery.refused.items()
                                    if why != UNREACHABLE})
            outcome.bytes_frozen += delivery.bytes_frozen
        return {member.name for member in sites} - lost

    def install(
        self, members: Sequence[Member], task: Task, part: Part, frozen: Frozen
    ) -> Round:
        """Send one frozen part; the outcome says who did not take it and why.

        Nobody waits for a site that is not there: it asks for the part when a task names it.
        """
        began = time.monotonic()
        order = task.model_copy(update={"part": part, "layout": layout_digest(frozen.state),
                                        "frozen": {part: frozen.digest}})
        content = record(order, pack(frozen.state))
        names = _names(members)
        exchange = Exchange(self.grid, "query.install", dict.fromkeys(names, content),
                            began + self.timeout_s)
        outcome = Round(asked=tuple(member.name for member in members))
        refused = {member.name: member.absent or "late" for member in members}
        for node, message in exchange.replies():
            if message.has_error():
                refused[names[node]] = refusal_of(node, message)
            else:
                del refused[names[node]]
        refused.update({names[node]: UNREACHABLE for node in exchange.lost})
        outcome.refused, outcome.bytes_frozen = refused, exchange.bytes_down
        outcome.seconds = time.monotonic() - began
        return outcome

    def check_enough(self, task: Task, outcome: Round) -> None:
        """Check that enough sites answered, once the outcome is on record.

        Raises:
            RunFailedError: Fewer than `min_sites` usable replies.
        """
        if len(outcome.replies) >= self.min_sites:
            return
        refused = ", ".join(f"{name}: {why}" for name, why in sorted(outcome.refused.items()))
        charged = ("; where it says `budget`, a round that was lost stays charged and is paid for again"
                   if "budget" in outcome.refused.values() else "")
        raise RunFailedError(
            f"{task.stage} round {task.round_index + 1} has too few usable replies",
            expected=f"at least {self.min_sites} (min_sites in the plan)",
            found=f"{len(outcome.replies)} ({refused or 'nobody else was asked'})",
            fix=f"look into the logs of the sites that are named, in their state_dir{charged}",
        )


def _names(members: Iterable[Member]) -> dict[int, str]:
    """Return by node the names of the members that can be asked."""
    return {one.node_id: one.name for one in members if one.node_id is not None}


def _taking(layout: str, add: Callable[[Reply, Vector], None]) -> Take:
    """Return what reads a reply's array, of one layout, and adds it."""

    def take(message: Message, reply: Reply) -> None:
        if reply.layout != layout:
            raise ProtocolError("an update has another layout", expected=layout,
                                found=str(reply.layout), fix="run the same software version")
        add(reply, read_vector(message))

    return take
