"""SuperLink's Control API, as the server's own programs use it: nodes and the state of runs.

All private imports of Flower that the coordinator needs are in this file and in `server.pieces`,
because Flower moves them between minor versions; tests import both.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key
from flwr.common.constant import Status
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from braing3n.enrolment.node_keys import node_key_text
from braing3n.errors import RunFailedError
from braing3n.service.programs import own_ports_directly
from server.network.places import LOOPBACK, Places

NEWEST_RUNS = 100


@dataclass(frozen=True)
class Node:
    """A SuperNode that SuperLink knows.

    Attributes:
        node_id: Flower's number.
        key: The public key that it was registered with, as a line.
        status: `registered` (never seen), `online`, `offline` or `unregistered`.
    """

    node_id: int
    key: str
    status: str


@dataclass(frozen=True)
class FlowerRun:
    """A run as Flower knows it: one ServerApp.

    Attributes:
        is_alive: Whether it waits to be started, or is at work.
        why: What Flower says of how it ended; "" where nothing.
    """

    is_alive: bool
    why: str


@dataclass(frozen=True)
class Control:
    """The open connection."""

    client: ControlHttpClient

    def nodes(self) -> list[Node]:
        """Return all nodes that were ever registered."""
        return [Node(info.node_id, _key_text(info.public_key), info.status)
                for info in self.client.ListNodes(ListNodesRequest()).nodes_info]

    def register(self, key: str, site: str) -> int:
        """Register a site's key, and return the number of its node."""
        public = load_ssh_public_key(key.encode("ascii"))
        if not isinstance(public, EllipticCurvePublicKey):  # the roster has no others
            raise TypeError(f"the key of {site} is no EC key")
        return int(self.client.RegisterNode(RegisterNodeRequest(
            public_key=public_key_to_bytes(public), name=site)).node_id)

    def unregister(self, node_id: int) -> None:
        """Shut a node out, for good: its key cannot be registered again."""
        self.client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))

    def runs(self) -> dict[int, FlowerRun]:
        """Return Flower's newest runs, by its numbers."""
        found = self.client.ListRuns(ListRunsRequest(limit=NEWEST_RUNS)).run_dict
        return {int(number): FlowerRun(run.status.status != Status.FINISHED, run.status.details)
                for number, run in found.items()}

    def stop(self, run_id: int) -> None:
        """Stop a run."""
        self.client.StopRun(StopRunRequest(run_id=run_id))


@contextmanager
def open_control(places: Places) -> Iterator[Control]:
    """Connect to the SuperLink of the server that is at work.

    Raises:
        RunFailedError: It does not answer, or refuses.
    """
    os.environ.update(own_ports_directly(os.environ))
    port = places.read_port()
    client = ControlHttpClient.from_server_address(
        server_address=f"{LOOPBACK}:{port}", insecure=False,
        root_certificates=places.authority.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")])
    try:
        yield Control(client)
    except httpx.HTTPError as error:
        refused = isinstance(error, httpx.HTTPStatusError)
        raise RunFailedError("Flower's SuperLink does not answer",
                             found=str(error) if refused else type(error).__name__,
                             expected=f"an answer on {LOOPBACK}:{port}",
                             fix="look into the log of `braing3n server start`") from error
    finally:
        client.close()


def _key_text(pem: bytes) -> str:
    key = load_pem_public_key(pem)
    return node_key_text(key) if isinstance(key, EllipticCurvePublicKey) else ""
