"""A site's place at the server: given back before it is taken, where the last SuperNode was killed.

SuperLink holds the place of a node that was killed for a minute, and refuses it until then in the same
words as a key that it does not know. Who asks to give the place back learns which of the two it is.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from braing3n.enrolment.node_keys import node_key_text
from braing3n.files import write_text
from client.node import flower
from client.node.incoming import BoundedClient

# Long enough for the coordinator's part of a run to notice that the place was empty, and so that what
# the killed node was asked is lost: it asks every five seconds at the latest.
EMPTY_S = 10.0


class NotKnownError(Exception):
    """The server does not know the site's key."""


@dataclass(frozen=True)
class Place:
    """Where a site's node number is kept.

    Attributes:
        path: The file.
    """

    path: Path

    def remember(self, node_id: int, key: EllipticCurvePrivateKey) -> None:
        """Keep the number that the server has for a key."""
        write_text(self.path, json.dumps({"node_id": node_id, "key": _digest(key)}))

    def give_back(self, address: str, authority: bytes, key: EllipticCurvePrivateKey) -> bool:
        """Give the place back, if one was ever had with this key.

        Args:
            address: HOST:PORT of the server.
            authority: The CA's certificate (PEM).
            key: The SuperNode's.

        Returns:
            Whether the server still held it; then some seconds have passed.

        Raises:
            NotKnownError: The server does not know the key, any more.
        """
        node_id = self._node_id(key)
        if node_id is None:
            return False
        try:
            with BoundedClient.from_server_address(
                address, False, authority, interceptors=[
                    flower.RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                    flower.NodeAuthHttpInterceptor(key, key.public_key())],
            ) as client:
                client.DeactivateNode(flower.DeactivateNodeRequest(node_id=node_id))
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.UNAUTHORIZED:
                raise NotKnownError from error
            return False  # it was free
        except (httpx.HTTPError, ValueError):
            return False  # not reached: connecting says more
        time.sleep(EMPTY_S)
        return True

    def _node_id(self, key: EllipticCurvePrivateKey) -> int | None:
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            return int(kept["node_id"]) if kept["key"] == _digest(key) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _digest(key: EllipticCurvePrivateKey) -> str:
    return hashlib.sha256(node_key_text(key.public_key()).encode()).hexdigest()
