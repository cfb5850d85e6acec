"""One round: who is asked, how replies are merged as they arrive, and what counts as enough."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from pydantic import ValidationError

from braing3n.errors import BrainG3NError, ProtocolError, RunFailedError
from braing3n.optimizer_plan import MergePlan
from braing3n.plan import Part
from braing3n.protocol import Reply, Task
from braing3n.weights import State, Vector, layout_digest, pack
from server.manifests import ManifestBook
from server.merge import ExactMean
from server.messages import Member, exchange, read_text, read_vector, record, refusal_of, size_of
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
    """

    grid: Grid
    members: Sequence[Member]
    min_sites: int
    timeout_s: float
    book: ReceiptBook | None = None
    manifests: ManifestBook | None = None
    spool: Path | None = None

    def run_round(
        self, kind: str, task: Task, weights: Vector | None, result_like: State | None,
        frozen: Mapping[Part, Frozen], merge: MergePlan = _MEAN,
    ) -> Round:
        """Send `task` to every member and merge what comes back.

        A site that lacks a frozen part says so; it is sent the part, and the task again.

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
        outcome = Round(asked=tuple(member.name for member in contents))
        lacking = self._ask(contents, kind, task, take, outcome)
        if lacking:
            sites = [member for member in contents if member.name in lacking]
            self._send_missing(sites, lacking, task, frozen, outcome)
            again = self._ask({m: contents[m] for m in sites if m.name not in outcome.refused}, kind,
                              task, take, outcome)
            outcome.refused.update(dict.fromkeys(again, "missing_part"))
        for name in outcome.asked:
            if name not in outcome.replies:
                outcome.refused.setdefault(name, "late")
        outcome.seconds = time.monotonic() - began
        return outcome

    def _ask(
        self, contents: Mapping[Member, RecordDict], kind: str, task: Task, take: Take,
        outcome: Round,
    ) -> dict[str, tuple[Part, ...]]:
        """Send the messages, take the replies into `outcome`; return who lacks which parts."""
        names = {member.node_id: member.name for member in contents}
        messages = [Message(content, member.node_id, kind, ttl=self.timeout_s)
                    for member, content in contents.items()]
        outcome.bytes_down += sum(map(size_of, contents.values()))
        lacking: dict[str, tuple[Part, ...]] = {}
        for node, message in exchange(self.grid, messages, self.timeout_s):
            name = names[node]
            if message.has_error():
                outcome.refused[name] = refusal_of(node, message)
                continue
            outcome.bytes_up += size_of(message.content)
            try:
                reply = self._read(message, name, task)
                if self.manifests is not None:
                    self.manifests.take(name, kind, message)
                if reply.missing:
                    lacking[name] = reply.missing
                    continue
                if self.book is not None:
                    self.book.give(name, reply.head)
                take(message, reply)
                outcome.replies[name] = reply
            except BrainG3NError as error:
                outcome.refused[name] = error.code
        return lacking

    @staticmethod
    def _read(message: Message, name: str, task: Task) -> Reply:
        """Return a reply that belongs to this task and this site.

        Raises:
            ProtocolError: It does not.
        """
        fix = "look into that site's log"
        try:
            reply = Reply.model_validate_json(read_text(message))
        except (ValidationError, KeyError) as error:
            raise ProtocolError("a reply cannot be read", expected="our JSON", found="other text",
                                fix=fix) from error
        expected = (name, task.stage, task.round_index, task.plan_digest)
        found = (reply.site, reply.stage, reply.round_index, reply.plan_digest)
        if found != expected:
            raise ProtocolError("a reply belongs to another task", expected=str(expected),
                                found=str(found), fix=fix)
        return reply

    def _send_missing(
        self, sites: Sequence[Member], lacking: Mapping[str, tuple[Part, ...]], task: Task,
        frozen: Mapping[Part, Frozen], outcome: Round,
    ) -> None:
        """Send each site the frozen parts that it lacks, and only those."""
        for part in sorted({part for parts in lacking.values() for part in parts}):
            if part not in task.frozen:
                continue  # a site that asks for more than the task names is answered by nothing
            targets = [m for m in sites if part in lacking[m.name] and m.name not in outcome.refused]
            delivery = self.install(targets, task, part, frozen[part])
            outcome.refused.update(delivery.refused)
            outcome.bytes_frozen += delivery.bytes_frozen

    def install(
        self, members: Sequence[Member], task: Task, part: Part, frozen: Frozen
    ) -> Round:
        """Send one frozen part; the outcome says who did not take it and why."""
        began = time.monotonic()
        order = task.model_copy(update={"part": part, "layout": layout_digest(frozen.state),
                                        "frozen": {part: frozen.digest}})
        content = record(order, pack(frozen.state))
        names = {member.node_id: member.name for member in members}
        messages = [Message(content, node, "query.install", ttl=self.timeout_s) for node in names]
        outcome = Round(asked=tuple(names.values()), bytes_frozen=len(messages) * size_of(content))
        outcome.refused = dict.fromkeys(outcome.asked, "late")
        for node, message in exchange(self.grid, messages, self.timeout_s):
            if message.has_error():
                outcome.refused[names[node]] = refusal_of(node, message)
            else:
                del outcome.refused[names[node]]
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


def _taking(layout: str, add: Callable[[Reply, Vector], None]) -> Take:
    """Return what reads a reply's array, of one layout, and adds it."""

    def take(message: Message, reply: Reply) -> None:
        if reply.layout != layout:
            raise ProtocolError("an update has another layout", expected=layout,
                                found=str(reply.layout), fix="run the same software version")
        add(reply, read_vector(message))

    return take
