"""Who takes part: sites that say hello with the name and the code that we expect."""

import time
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from pydantic import ValidationError

import braing3n
from braing3n.protocol import PROTOCOL_VERSION, Hello, code_digest
from server.messages import Member, exchange, read_text, refusal_of


@dataclass(frozen=True)
class Roster:
    """The outcome of greeting.

    Attributes:
        members: Sites that take part, by name.
        strangers: What was wrong with nodes that do not, by name or node id.
        code_digest: Of the code that every member says it runs.
    """

    members: tuple[Member, ...]
    strangers: dict[str, str]
    code_digest: str


def expected_code_digest() -> str:
    """Return the digest of the code that a site should run: of what is installed here."""
    root = Path(braing3n.__file__).parent
    return code_digest([root, root.parent / "client"])


def greet(grid: Grid, expected: int, timeout_s: float) -> Roster:
    """Wait for `expected` nodes, ask each who it is, and tell members from strangers.

    A stranger speaks another protocol version, runs other code, or shares its name with another
    node of our code. None of its updates would be worth merging, so it is not asked again.

    Args:
        grid: The transport.
        expected: Nodes to wait for; after `timeout_s` the run goes on with those that are there.
        timeout_s: Seconds for connecting, and again for answering.
    """
    nodes = _wait_for_nodes(grid, expected, timeout_s)
    messages = [Message(RecordDict(), node, "query.hello") for node in nodes]
    hellos: dict[int, Hello] = {}
    silent = dict.fromkeys(nodes, "late")
    for node, reply in exchange(grid, messages, timeout_s):
        if reply.has_error():
            silent[node] = refusal_of(node, reply)
            continue
        try:
            hellos[node] = Hello.model_validate_json(read_text(reply))
            del silent[node]
        except (ValidationError, KeyError):
            silent[node] = "protocol"
    return _sort_out(hellos, {f"node {node}": why for node, why in silent.items()})


def _wait_for_nodes(grid: Grid, expected: int, timeout_s: float) -> list[int]:
    deadline = time.monotonic() + timeout_s
    while len(nodes := list(grid.get_node_ids())) < expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return sorted(nodes)


def _sort_out(hellos: dict[int, Hello], strangers: dict[str, str]) -> Roster:
    """Return the roster; `strangers` holds what is known of others already."""
    digest = expected_code_digest()
    ours = {node: hello.site for node, hello in hellos.items()
            if hello.protocol == PROTOCOL_VERSION and hello.code_digest == digest}
    names = list(ours.values())
    members = []
    for node, hello in hellos.items():
        if node not in ours:
            strangers[f"{hello.site} (node {node})"] = "stranger"
        elif names.count(hello.site) > 1:
            strangers[f"{hello.site} (node {node})"] = "name_taken"
        else:
            members.append(Member(hello.site, node))
    return Roster(tuple(sorted(members, key=lambda member: member.name)), strangers, digest)
