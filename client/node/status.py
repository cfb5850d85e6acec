"""How a site stands, for people and for machines; nothing is asked over the network."""

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from braing3n.config import SiteConfig
from braing3n.enrolment.certificates import days_left, load_certificate
from braing3n.files import locked
from braing3n.moments import to_text
from client import holding
from client.approval import waiting
from client.network_folder import NetworkFolder, accepted
from client.node.running import LOCK, REACHED

# A SuperNode asks every second, and while a task is at work every twenty; it waits thirty.
FRESH_S = 60.0
_TAIL = 1 << 20  # bytes of the site's log in which a refusal is looked for
_REFUSAL = "answering with a refusal: "


@dataclass(frozen=True)
class SiteStatus:
    """What `site status` tells.

    Attributes:
        site: Its name.
        consortium: That it has joined; None is none.
        ca_expires: Until when the consortium's CA holds.
        ca_days_left: Days until then.
        is_started: Whether `site run` is at work.
        is_connected: Whether the server has answered it within the last minute.
        reached: When it last did; "" is never.
        doing: What the site does, or did last.
        held: Replies that wait for a person.
        plans: Digests of plans that a coordinator has asked for and nobody has decided about.
        last_refusal: When the site last refused, and by which word; "" is never.
    """

    site: str
    consortium: str | None
    ca_expires: str
    ca_days_left: int | None
    is_started: bool
    is_connected: bool
    reached: str
    doing: dict[str, Any]
    held: tuple[str, ...]
    plans: tuple[str, ...]
    last_refusal: str

    @property
    def is_well(self) -> bool:
        """Whether it is at work and connected."""
        return self.is_started and self.is_connected

    def as_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {**asdict(self), "is_well": self.is_well}


def look(config: SiteConfig, now: datetime) -> SiteStatus:
    """Find out how a site stands.

    Raises:
        ConfigError: What it has joined cannot be read.
        OutputError: What it has decided about plans is damaged.
        ProtocolError: It was edited.
    """
    folder = NetworkFolder.of(config)
    answer = accepted(config)
    authority = None if answer is None else load_certificate(answer.authority, "the CA's certificate")
    is_started = _is_at_work(folder.path)
    reached = _time_of(folder.path / REACHED)
    since = _time_of(folder.path / LOCK) if is_started else None
    is_fresh = (reached is not None and since is not None and reached >= since
                and (now - reached).total_seconds() <= FRESH_S)
    return SiteStatus(
        site=config.name, consortium=None if answer is None else answer.consortium,
        ca_expires="" if authority is None else to_text(authority.not_valid_after_utc),
        ca_days_left=None if authority is None else days_left(authority, now), is_started=is_started,
        is_connected=is_fresh, reached="" if reached is None else to_text(reached),
        doing=_read(config.state_dir / "progress.json"),
        held=tuple(one.name for one in holding.held(config.state_dir)),
        plans=tuple(plan.digest for plan in waiting(config.state_dir)),
        last_refusal=_last_refusal(config.state_dir / "site.log"))


def _is_at_work(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        with locked(folder / LOCK):
            return False
    except BlockingIOError:
        return True


def _time_of(mark: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(mark.stat().st_mtime, UTC)
    except OSError:
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _last_refusal(log: Path) -> str:
    """Return when the site last refused, and by which word; "" where the end of its log tells none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    # Texts of errors follow, indented or not; only the line that the site began is its own.
    found = [line for line in lines if re.match(rf"\S+ {_REFUSAL}", line)]
    return found[-1].replace(_REFUSAL, "", 1) if found else ""
