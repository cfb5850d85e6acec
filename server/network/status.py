"""How a server and its runs stand, for people and for machines."""

import contextlib
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from braing3n.enrolment.certificates import days_left
from braing3n.errors import RunFailedError
from braing3n.files import locked
from braing3n.moments import to_text, utc_now
from server.authority import load_authority, load_server_certificate
from server.consortium import ConsortiumConfig
from server.enrolling import load_roster
from server.network.control import open_control
from server.network.orders import Order, OrderBook
from server.network.places import LOOPBACK, Places
from server.network.run_record import read_record

HEALTH_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Status:
    """What `server status` tells.

    Attributes:
        consortium: Its name.
        is_started: Whether `braing3n server start` is at work.
        is_reachable: Whether sites would be answered: by nginx, with the server's certificate, and by
            SuperLink behind it.
        certificates: Days left, by what they are of.
        sites: How each enrolled site's node stands; `unknown` while SuperLink does not answer.
        runs: Each run, the newest last.
    """

    consortium: str
    is_started: bool
    is_reachable: bool
    certificates: dict[str, dict[str, Any]]
    sites: dict[str, str]
    runs: list[dict[str, Any]]

    @property
    def is_well(self) -> bool:
        """Whether sites are served."""
        return self.is_started and self.is_reachable

    def as_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {**asdict(self), "is_well": self.is_well}


def look(config: ConsortiumConfig) -> Status:
    """Find out how a server stands.

    Raises:
        ConfigError: Its folder is damaged.
    """
    places, now = Places.of(config), utc_now()
    is_started = _is_at_work(places)
    certificates = {"server": load_server_certificate(config), "ca": load_authority(config)}
    return Status(
        config.name, is_started, is_started and _is_reachable(config),
        {name: {"expires": to_text(one.not_valid_after_utc), "days_left": days_left(one, now)}
         for name, one in certificates.items()},
        _sites(config, asks=is_started), [describe(one) for one in OrderBook(places).all()])


def describe(order: Order) -> dict[str, Any]:
    """Return what there is to say of a run."""
    record = read_record(Path(order.out))
    stages = record.get("stages") or []
    rounds = [(stage["name"], entry) for stage in stages for entry in stage.get("participation", ())]
    last = None
    if rounds:
        name, entry = rounds[-1]
        last = {"stage": name, **{key: entry[key] for key in ("round", "asked", "answered", "refused")}}
    return {"name": order.name, "wanted": order.wanted, "out": order.out, "ordered": order.ordered,
            "status": order.ended or str(record.get("status") or "waiting to be started"),
            "attempts": len(order.attempts), "last_round": last,
            "rounds": {stage["name"]: f"{stage['participation'][-1]['round']} of {stage['rounds']}"
                       for stage in stages if stage.get("participation")}}


def _is_at_work(places: Places) -> bool:
    try:
        with locked(places.state_dir / places.lock):
            return False
    except BlockingIOError:
        return True


def _is_reachable(config: ConsortiumConfig) -> bool:
    """Ask for /health as a site would, but on loopback, as names may not lead here from here."""
    with contextlib.suppress(httpx.HTTPError, OSError):
        with httpx.Client(verify=_trusting(config), timeout=HEALTH_TIMEOUT_S,
                          trust_env=False) as client:  # a proxy would ask its own loopback
            found = client.get(f"https://{LOOPBACK}:{config.port}/health",
                               extensions={"sni_hostname": config.names[0]})
        return found.status_code == httpx.codes.OK
    return False


def _trusting(config: ConsortiumConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(config.ca_certificate))
    context.check_hostname = True
    return context


def _sites(config: ConsortiumConfig, *, asks: bool) -> dict[str, str]:
    enrolled = {one.entry.node_key: name for name, one in load_roster(config).sites.items()
                if one.is_enrolled}
    found = dict.fromkeys(sorted(enrolled.values()), "unknown")
    if asks:
        with contextlib.suppress(RunFailedError), open_control(Places.of(config)) as control:
            found.update({enrolled[node.key]: node.status for node in control.nodes()
                          if node.key in enrolled})
    return found
