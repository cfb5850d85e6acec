"""A consortium's settings and its coordinator's own folder: CA, certificate, keys, roster."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from braing3n.enrolment.answer import MAX_NAMES
from braing3n.enrolment.private_files import is_there
from braing3n.errors import ConfigError
from braing3n.protocol import SiteName
from braing3n.yaml_files import StrictModel, load_yaml, parse

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


def _checked_name(text: str) -> str:
    """Return a host's name or address, if it is one and written in the one way."""
    expected = "a DNS name in small letters, or an IP address"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        labels = text.split(".")
        is_name = all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
        if not is_name or len(text) > 253:
            raise ValueError(expected) from None
        return text
    if str(address) != text or "%" in text or address.is_unspecified:
        raise ValueError(f"{expected} that others can reach, as short as it goes")
    return text


HostName = Annotated[str, AfterValidator(_checked_name)]


class ConsortiumConfig(StrictModel):
    """What the coordinator says of the server.

    Attributes:
        name: The consortium's name.
        names: DNS names and IP addresses that sites reach the server by; the first is what they use.
        port: The port there.
        valid_days: How long a server certificate holds.
        state_dir: The coordinator's own folder.
    """

    name: SiteName
    names: Annotated[tuple[HostName, ...], Field(min_length=1, max_length=MAX_NAMES)]
    port: Annotated[int, Field(ge=1, le=65535)]
    valid_days: Annotated[int, Field(ge=1, le=825)] = 365
    state_dir: Path

    @property
    def addresses(self) -> tuple[str, ...]:
        """The server as HOST:PORT, by each name."""
        return tuple(f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}"
                     for name in self.names)

    @property
    def ca_key(self) -> Path:
        """The CA's secret key."""
        return self.state_dir / "ca.key"

    @property
    def ca_certificate(self) -> Path:
        """The CA's certificate."""
        return self.state_dir / "ca.crt"

    @property
    def server_key(self) -> Path:
        """The server's secret key."""
        return self.state_dir / "server.key"

    @property
    def server_certificate(self) -> Path:
        """The server's certificate."""
        return self.state_dir / "server.crt"

    @property
    def superexec_secret(self) -> Path:
        """What SuperLink and its own SuperExec know each other by."""
        return self.state_dir / "superexec.secret"

    @property
    def coordinator_key(self) -> Path:
        """The key that signs decisions and answers."""
        return self.state_dir / "coordinator.key"

    @property
    def coordinator_public(self) -> Path:
        """Its public half."""
        return self.state_dir / "coordinator.pub"

    @property
    def roster(self) -> Path:
        """All decisions on sites, one a line."""
        return self.state_dir / "roster.jsonl"


def load_consortium(path: Path) -> ConsortiumConfig:
    """Read a consortium's YAML; a relative `state_dir` is relative to the file.

    Raises:
        ConfigError: The file is wrong.
    """
    config = parse(ConsortiumConfig, load_yaml(path), str(path))
    return config.model_copy(update={
        "state_dir": path.resolve().parent / config.state_dir.expanduser()})


def open_consortium(path: Path) -> ConsortiumConfig:
    """Read a consortium's YAML, and check that `braing3n server init` was run for it.

    Raises:
        ConfigError: The file is wrong, or something in the state folder is missing or out of reach.
    """
    config = load_consortium(path)
    places = (config.ca_key, config.ca_certificate, config.coordinator_key, config.coordinator_public,
              config.roster)
    missing = [place.name for place in places if not is_there(place)]
    if missing:
        is_new = len(missing) == len(places)
        raise ConfigError(f"{config.state_dir} is no coordinator's folder",
                          expected="what `braing3n server init` made",
                          found="none of it" if is_new else f"no {', '.join(missing)}",
                          fix=f"run `braing3n server init {path}`" if is_new else
                          "restore it from a backup")
    return config
