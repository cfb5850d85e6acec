"""Questions to nodes, and their replies one by one; a node that was lost is asked again."""

import time
from collections.abc import Callable, Iterator, Mapping

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from server.messages import UNREACHABLE, refusal_of, size_of

POLL_S = 0.1
# Also how long a node's place may stand empty unnoticed: a client that was killed and started again
# leaves it empty for longer, so that what it was asked before is known to be lost.
LONGEST_PAUSE_S = 5.0
# A node that is there, and for which Flower answers nevertheless, is not asked again at once.
AGAIN_S = 2.0
# So often it is looked whether nodes that are awaited were started anew.
LOOK_S = 5.0
# So often a message may be lost at a node that says so itself: its process for it dies each time.
MAX_DEATHS = 3


class Exchange:
    """One kind of message to several nodes.

    A node is asked while it is there. Where Flower answers for it, as its connection is lost, or it was
    started anew since it was asked, it is sent the same again; each node's own reply is taken once.

    Args:
        grid: The transport.
        kind: Flower message type.
        contents: What each node is sent; nodes that share a content share its memory.
        deadline: When all waiting ends, by time.monotonic(). Messages live as long.

    Attributes:
        lost: Nodes that are not there, or were lost; from when on each may be asked again.
        bytes_down: Payload sent: what was sent again counts again.
    """

    def __init__(
        self, grid: Grid, kind: str, contents: Mapping[int, RecordDict], deadline: float
    ) -> None:
        self._grid = grid
        self._kind = kind
        self._contents = contents
        self._deadline = deadline
        self._pending: dict[str, int] = {}
        self._deaths: dict[int, int] = {}
        self._since: dict[int, str] = {}  # when each was started that was asked
        self._looked = time.monotonic()
        self.lost: dict[int, float] = dict.fromkeys(contents, 0.0)
        self.bytes_down = 0

    def replies(self, patience_s: Callable[[], float] = lambda: 0.0) -> Iterator[tuple[int, Message]]:
        """Send the messages and give each reply as it arrives, holding no other.

        Flower's `send_and_receive` keeps every reply until the last is in, which at n sites takes the
        memory of n models.

        Args:
            patience_s: Seconds that lost nodes are waited for when all others have answered, in all;
                looked at each time.

        Yields:
            The node that was asked, and its reply.
        """
        waited_s = 0.0
        while (self._pending or self.lost) and time.monotonic() < self._deadline:
            began, in_vain_s = time.monotonic(), 0.0
            arrived = False
            self._send()
            for message_id, node in list(self._pending.items()):
                asked = time.monotonic()
                found = self._grid.pull_messages([message_id])
                if not found:
                    in_vain_s += time.monotonic() - asked
                for reply in found:
                    arrived = True
                    self._pending.pop(message_id, None)
                    if reply.has_error() and self._may_ask_again(node, reply):
                        self.lost[node] = time.monotonic() + AGAIN_S
                    else:
                        yield node, reply
                        _release(reply)
            only_lost = not self._pending
            if only_lost and waited_s >= patience_s():
                return
            if not arrived:
                self._find_restarted()
                self._pause(in_vain_s)
            if only_lost:
                waited_s += time.monotonic() - began

    def _may_ask_again(self, node: int, reply: Message) -> bool:
        """Return whether a message was lost, and not at a process that dies of it time and again."""
        if refusal_of(node, reply) != UNREACHABLE:
            return False
        if reply.metadata.src_node_id == node:
            self._deaths[node] = self._deaths.get(node, 0) + 1
        return self._deaths.get(node, 0) < MAX_DEATHS

    def _send(self) -> None:
        """Send their messages to lost nodes that are there."""
        now = time.monotonic()
        due = [node for node, at in self.lost.items() if at <= now]
        there = present(self._grid) if due else {}
        for node in due:
            if node not in there:
                continue
            del self.lost[node]
            self._since[node] = there[node]
            # At least a second, as Flower takes none without: earlier ones may have been large.
            message = Message(self._contents[node], node, self._kind,
                              ttl=max(self._deadline - time.monotonic(), 1.0))
            self._pending.update(dict.fromkeys(self._grid.push_messages([message]), node))
            self.bytes_down += size_of(self._contents[node])

    def _find_restarted(self) -> None:
        """Take nodes for lost that were started anew: what one was asked before, it does not know.

        Flower only answers for a node that is away just when it is asked about, which may be missed;
        and it hands out a message once, also where the answer with it did not reach the node.
        """
        if not self._pending or time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        there = present(self._grid)
        for message_id, node in list(self._pending.items()):
            if there.get(node, self._since[node]) != self._since[node]:
                del self._pending[message_id]
                self.lost[node] = time.monotonic()

    def _pause(self, asking_s: float) -> None:
        """Pause so long that asking hundreds of nodes in vain takes a fifth of the time at most."""
        pause_s = min(max(POLL_S, 4 * asking_s), LONGEST_PAUSE_S)
        time.sleep(min(pause_s, max(self._deadline - time.monotonic(), 0)))


def present(grid: Grid) -> dict[int, str]:
    """Return which nodes are there, and since when; "" where the transport does not tell."""
    return {node.node_id: node.last_activated_at for node in grid.get_nodes()}


def _release(reply: Message) -> None:
    """Let go of a reply's arrays now.

    Flower's records are in reference cycles, which Python's collector finds late; until then each
    would hold the memory of a model.
    """
    if reply.has_content():
        for arrays in reply.content.array_records.values():
            arrays.clear()
