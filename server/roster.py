"""Who takes part: sites that say hello with the name and code that we expect, whenever they come."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from pydantic import ValidationError

import braing3n
from braing3n.protocol import PROTOCOL_VERSION, Hello, code_digest
from server.enrolled_nodes import load_nodes
from server.exchange import Exchange
from server.messages import REVOKED, UNREACHABLE, Member, read_text, refusal_of

# Seconds that a node has for saying who it is, before a round of training.
HELLO_S = 30.0
# What a node is a stranger for until the run ends. It is asked no more; other reasons may pass.
_LASTING = ("stranger", "name_taken", "protocol", "impostor")


@dataclass(frozen=True)
class Stranger:
    """A node that does not take part.

    Attributes:
        label: Its name, as far as that is known, and Flower's number.
        why: One fixed word.
    """

    label: str
    why: str


@dataclass(frozen=True)
class Changes:
    """What is other than before the last round.

    Attributes:
        joined: Sites that take part from now on.
        revoked: Sites that are not enrolled any more.
    """

    joined: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()


class Roster:
    """The sites of a run as they come and go.

    A stranger speaks another protocol version, runs other code, shares its name with another node of
    our code, or is not the site that its node was enrolled as. None of its updates would be worth
    merging, so it is not asked again.

    Args:
        grid: The transport.
        nodes: The file of which node is which site; None lets each node name itself.

    Attributes:
        grid: The transport.
        members: Sites that take part, by name.
        code_digest: Of the code that every member says it runs.
    """

    def __init__(self, grid: Grid, nodes: Path | None = None) -> None:
        self.grid = grid
        self._nodes = nodes
        self._strangers: dict[int, Stranger] = {}
        self._shut_out: set[int] = set()
        self.members: tuple[Member, ...] = ()
        self.code_digest = expected_code_digest()

    @property
    def strangers(self) -> dict[str, str]:
        """What was wrong with nodes that do not take part."""
        return {one.label: one.why for one in self._strangers.values()}

    def gather(self, expected: int, timeout_s: float) -> None:
        """Wait for nodes and ask each who it is.

        Args:
            expected: Nodes to wait for; after `timeout_s` the run goes on with those that are there.
            timeout_s: Seconds for connecting, and again for answering.
        """
        deadline = time.monotonic() + timeout_s
        while len(self._there(self._enrolled())) < expected and time.monotonic() < deadline:
            time.sleep(0.2)
        self._greet(self._enrolled(), timeout_s)

    def expect(self, names: Iterable[str]) -> None:
        """Count sites that were in the run before it went on as members, though they are not there.

        They are asked nothing before they have said hello: they may run other code by now.
        """
        there = {member.name for member in self.members}
        self._set([*self.members, *(Member(name, None, UNREACHABLE) for name in names
                                    if name not in there)])

    def look(self) -> Changes:
        """Greet nodes that are new, and shut out sites that are not enrolled any more.

        A site that is shut out is left among the members once, so that the next round's record has
        it, but is not asked.

        Raises:
            ConfigError: The file of enrolled nodes cannot be read.
        """
        enrolled = self._enrolled()
        before = [member for member in self.members if member.absent != REVOKED]
        gone = {member.name: Member(member.name, None, REVOKED) for member in before
                if enrolled is not None and not _is_enrolled(member, enrolled)}
        self._shut_out.update(one.node_id for one in before
                              if one.name in gone and one.node_id is not None)
        self._set(gone.get(member.name, member) for member in before)
        self._greet(enrolled, HELLO_S)
        there = {member.name for member in self.members if member.absent != REVOKED}
        return Changes(tuple(sorted(there - {member.name for member in before})),
                       tuple(sorted(gone.keys() - there)))

    def _enrolled(self) -> dict[int, str] | None:
        return None if self._nodes is None else load_nodes(self._nodes)

    def _there(self, enrolled: Mapping[int, str] | None) -> list[int]:
        """Return the nodes that are there, of those that may be."""
        return sorted(node for node in self.grid.get_node_ids() if enrolled is None or node in enrolled)

    def _set(self, members: Iterable[Member]) -> None:
        self.members = tuple(sorted(members, key=lambda member: member.name))

    def _greet(self, enrolled: Mapping[int, str] | None, timeout_s: float) -> None:
        """Ask nodes that are there and no members who they are; tell members from strangers."""
        if enrolled is not None:
            self._note_unknown(enrolled)
        known = {member.node_id for member in self.members}
        nodes = [node for node in self._there(enrolled) if node not in known
                 and (node not in self._strangers or self._strangers[node].why not in _LASTING)]
        names = {node: f"node {node}" if enrolled is None else f"{enrolled[node]} (node {node})"
                 for node in nodes}
        hellos, silent = self._ask(nodes, timeout_s)
        self._strangers.update({node: Stranger(names[node], why) for node, why in silent.items()})
        self._sort_out(hellos, enrolled)

    def _note_unknown(self, enrolled: Mapping[int, str]) -> None:
        """Note nodes that nobody enrolled; they are asked nothing, unless they are enrolled later."""
        for node in self.grid.get_node_ids():
            if node not in enrolled and node not in self._shut_out:
                self._strangers[node] = Stranger(f"node {node}", "unknown_node")

    def _ask(
        self, nodes: Sequence[int], timeout_s: float
    ) -> tuple[dict[int, Hello], dict[int, str]]:
        """Return what nodes say of themselves, and why others do not."""
        hellos: dict[int, Hello] = {}
        silent = dict.fromkeys(nodes, "late")
        exchange = Exchange(self.grid, "query.hello", dict.fromkeys(nodes, RecordDict()),
                            time.monotonic() + timeout_s)
        for node, reply in exchange.replies():
            silent[node] = refusal_of(node, reply) if reply.has_error() else "protocol"
            hello = None if reply.has_error() else _read(reply)
            if hello is not None:
                hellos[node] = hello
                del silent[node]
        return hellos, silent | dict.fromkeys(exchange.lost, UNREACHABLE)

    def _sort_out(self, hellos: Mapping[int, Hello], enrolled: Mapping[int, str] | None) -> None:
        """Take up nodes that are what they should be, in place of absent members of their names."""
        names = [one.name for one in self.members if one.absent is None]
        names += [hello.site for node, hello in hellos.items()
                  if self._is_ours(hello) and not _is_impostor(node, hello, enrolled)]
        new = {}
        for node, hello in hellos.items():
            if _is_impostor(node, hello, enrolled):
                why = "impostor"
            elif not self._is_ours(hello):
                why = "stranger"
            elif names.count(hello.site) > 1:
                why = "name_taken"
            else:
                new[hello.site] = Member(hello.site, node)
                self._strangers.pop(node, None)
                continue
            self._strangers[node] = Stranger(f"{hello.site} (node {node})", why)
        self._set([*new.values(), *(member for member in self.members if member.name not in new)])

    def _is_ours(self, hello: Hello) -> bool:
        return hello.protocol == PROTOCOL_VERSION and hello.code_digest == self.code_digest


def expected_code_digest() -> str:
    """Return the digest of the code that a site should run: of what is installed here."""
    root = Path(braing3n.__file__).parent
    return code_digest([root, root.parent / "client"])


def _is_enrolled(member: Member, enrolled: Mapping[int, str]) -> bool:
    """Return whether a member's node is still its own; of one that is not there, its name counts."""
    if member.node_id is None:
        return member.name in enrolled.values()
    return enrolled.get(member.node_id) == member.name


def _is_impostor(node: int, hello: Hello, enrolled: Mapping[int, str] | None) -> bool:
    return enrolled is not None and enrolled[node] != hello.site


def _read(reply: Message) -> Hello | None:
    """Return a node's hello; None where it is none."""
    try:
        return Hello.model_validate_json(read_text(reply))
    except (ValidationError, KeyError):
        return None
