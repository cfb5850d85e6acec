"""LocalGrid: a Flower grid in one process, for tests and notebooks.

All private imports of Flower that this project needs are in this file, because Flower moves them
between minor versions; a test imports it.
"""

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

COORDINATOR_NODE = 1
FIRST_SITE_NODE = 1001


class LocalGrid(Grid):
    """Runs a ClientApp's handlers when their replies are pulled, one after the other.

    Nothing is kept but what was pushed and not pulled yet, so the memory of the coordinator can be
    measured with any number of sites.

    Args:
        client_app: The app that every site runs.
        num_sites: How many sites there are.
        run_config: Flower run config, as both apps see it.
        is_lost: Tells messages that never arrive, to try what happens then.
    """

    def __init__(
        self, client_app: ClientApp, num_sites: int, run_config: dict[str, str],
        is_lost: Callable[[Message], bool] = lambda _: False,
    ) -> None:
        self._run = Run.create_empty(run_id=1)
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, COORDINATOR_NODE, 1
        self._client_app = client_app
        self._contexts = {
            FIRST_SITE_NODE + number: Context(
                run_id=1, node_id=FIRST_SITE_NODE + number, state=RecordDict(),
                node_config={"partition-id": number, "num-partitions": num_sites},
                run_config=dict(run_config),
            )
            for number in range(num_sites)
        }
        self._is_lost = is_lost
        self._pushed: dict[str, Message] = {}
        self._count = 0

    def set_run(self, run: Run) -> None:
        """Keep the run that Flower names."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that Flower named."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message; Flower itself prefers the constructor."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all sites' nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages, to be answered when they are pulled."""
        identifiers = []
        for message in messages:
            self._count += 1
            identifier = f"message-{self._count}"
            message.metadata.__dict__["_message_id"] = identifier
            self._pushed[identifier] = message
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Run the handlers of these messages and return their replies."""
        replies = []
        for identifier in message_ids:
            message = self._pushed.get(identifier)
            if message is None or self._is_lost(message):
                continue
            del self._pushed[identifier]
            context = self._contexts[message.metadata.dst_node_id]
            # A site gets records of its own, as it would over a network.
            reply = self._client_app(copy.copy(message), context)
            reply.metadata.__dict__["_message_id"] = f"reply-{identifier}"
            replies.append(reply)
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the replies to `messages`; sites answer at once or not at all."""
        del timeout
        return self.pull_messages(self.push_messages(messages))


def run_locally(
    plan: Path, sites: Path, out: Path, *, sweep: str = "", start: Path | None = None,
    is_lost: Callable[[Message], bool] = lambda _: False,
    apps: tuple[ServerApp, ClientApp] | None = None,
) -> None:
    """Run a plan over the sites of a folder in this process.

    Args:
        plan: The plan's YAML.
        sites: Folder with one site file (YAML) a site.
        out: The run's folder.
        sweep: Replacements in the plan; see `braing3n.plan.load_plan`.
        start: Folder of the weights that stages start from, where they do not start fresh.
        is_lost: Tells messages that never arrive.
        apps: ServerApp and ClientApp in place of ours.

    Raises:
        BrainG3NError: As the coordinator raises it.
    """
    from client.app import app as client_app  # noqa: PLC0415  # both import all of torch
    from server.app import app as server_app  # noqa: PLC0415

    coordinator, site = apps or (server_app, client_app)
    config = {"plan": str(plan.resolve()), "sites": str(sites.resolve()),
              "out": str(out.resolve()), "sweep": sweep,
              "start": "" if start is None else str(start.resolve())}
    grid = LocalGrid(site, len(list(sites.glob("*.yaml"))), config, is_lost)
    coordinator(grid, Context(run_id=1, node_id=COORDINATOR_NODE, node_config={},
                              state=RecordDict(), run_config=dict(config)))
