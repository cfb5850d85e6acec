"""SuperLink's nodes, brought in line with the roster: enrolled sites may connect, others may not."""

import json
from dataclasses import dataclass, field

import httpx

from braing3n.enrolment.roster import Roster
from braing3n.files import write_text
from braing3n.service.log import ServiceLog
from server.network.control import Control, Node
from server.network.places import Places


@dataclass
class Registrar:
    """Keeps nodes in line, and says who comes and goes.

    Attributes:
        places: Where the list for the ServerApp is written.
        log: The service's.
    """

    places: Places
    log: ServiceLog
    _said: dict[str, str] = field(default_factory=dict)

    def bring_in_line(self, control: Control, roster: Roster) -> dict[str, str]:
        """Register keys that are new in the roster, shut out those that are no longer in it.

        Returns:
            How each enrolled site's node stands: `registered` (never seen), `online`, `offline`.
        """
        wanted = {one.entry.node_key: name for name, one in roster.sites.items() if one.is_enrolled}
        nodes = [node for node in control.nodes() if node.status != "unregistered"]
        for node in nodes:
            if node.key not in wanted:
                control.unregister(node.node_id)
                self.log.say("server", f"node {node.node_id} may not connect any more: its key is not "
                             "in the roster")
        there = {node.key: node for node in nodes if node.key in wanted}
        for key, site in wanted.items():
            if key not in there:
                there[key] = self._register(control, key, site)
        names = {str(node.node_id): wanted[key] for key, node in there.items() if node.node_id}
        self._write(names)
        standing = {wanted[key]: node.status for key, node in there.items()}
        self._say(standing)
        return standing

    def _register(self, control: Control, key: str, site: str) -> Node:
        try:
            node = Node(control.register(key, site), key, "registered")
        except httpx.HTTPStatusError as error:
            if self._said.get(site) != "refused":
                self.log.say("server", f"SuperLink refuses the key of {site} (HTTP "
                             f"{error.response.status_code}): was it shut out before? A site that "
                             "comes back needs a new SuperNode key", "error")
            self._said[site] = "refused"
            return Node(0, key, "refused")
        self.log.say("server", f"{site} may connect now, as node {node.node_id}")
        return node

    def _write(self, names: dict[str, str]) -> None:
        text = json.dumps(names, indent=1, sort_keys=True) + "\n"
        path = self.places.nodes
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def _say(self, standing: dict[str, str]) -> None:
        for site, status in sorted(standing.items()):
            if self._said.get(site, "registered") != status:
                self.log.say("server", f"{site} is {status}")
            self._said[site] = status
