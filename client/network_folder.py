"""What a site that joins a consortium has in `state_dir/network/`: its SuperNode's key, the answer."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import typer
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from braing3n.config import SiteConfig, load_site_config
from braing3n.enrolment.answer import SiteAnswer, check_is_for, read_answer
from braing3n.enrolment.certificates import load_certificate, validity_line
from braing3n.enrolment.node_keys import load_node_key, node_key_text
from braing3n.enrolment.private_files import (
    is_there,
    make_private_folder,
    read_private,
    write_private,
)
from braing3n.enrolment.request import SiteRequest, make_request
from braing3n.enrolment.signed_files import check_signature, read_signed, render
from braing3n.errors import ConfigError, ProtocolError
from braing3n.moments import utc_now
from braing3n.privacy.ledger import KEY_NAME
from braing3n.protocol import software_version
from braing3n.signing import SigningKey, open_key


@dataclass(frozen=True)
class NetworkFolder:
    """Where things are.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def of(cls, config: SiteConfig) -> "NetworkFolder":
        """Return that of a site."""
        return cls(config.state_dir / "network")

    @property
    def node_key(self) -> Path:
        """The SuperNode's secret key: `flower-supernode --auth-supernode-private-key`."""
        return self.path / "supernode.key"

    @property
    def node_public(self) -> Path:
        """Its public half: `flwr supernode register`."""
        return self.path / "supernode.pub"

    @property
    def authority(self) -> Path:
        """The CA's certificate: `flower-supernode --root-certificates`."""
        return self.path / "ca.crt"

    @property
    def answer(self) -> Path:
        """The coordinator's answer, once it was accepted."""
        return self.path / "answer.json"


def load_keys(config: SiteConfig) -> tuple[EllipticCurvePrivateKey, SigningKey]:
    """Return the SuperNode's key and the ledger's.

    Raises:
        ConfigError: A key is not there, or cannot be used.
    """
    node, ledger = NetworkFolder.of(config).node_key, config.state_dir / KEY_NAME
    for path in (node, ledger):  # `open_key` would make the one that is missing
        if not is_there(path):
            raise ConfigError(f"{config.name} has no {path.name}", found=f"nothing at {path}",
                              expected="keys of the site's own", fix="run `braing3n site keygen` first")
    return load_node_key(node), open_key(ledger)


def request_of(config: SiteConfig, now: datetime) -> SiteRequest:
    """Return the site's request to join.

    Raises:
        ConfigError: A key is not there, or cannot be used.
    """
    node_key, ledger_key = load_keys(config)
    return make_request(config.name, node_key=node_key, ledger_key=ledger_key,
                        version=software_version(), now=now)


def check_answer(config: SiteConfig, answer: SiteAnswer, *, replaces: bool) -> None:
    """Check that an answer is for this site's keys, and goes on from what was accepted before.

    Args:
        config: The site's settings.
        answer: What came.
        replaces: Whether the site leaves the consortium that it is in.

    Raises:
        ConfigError: The site is in another consortium, or its keys cannot be used.
        ProtocolError: It is for another site, or older than the one that was accepted.
    """
    _check_own(config, answer)
    before = accepted(config) if not replaces else None
    if before is None:
        return
    if before.words != answer.words:
        raise ConfigError(
            "the answer is by another consortium, or by one with a new CA",
            expected=f"{before.consortium}, whose words are: {before.words}",
            found=f"{answer.consortium}, whose words are: {answer.words}",
            fix="ask both coordinators; if the site is to leave the one that it is in, add --replace")
    if (answer.seq, answer.time) < (before.seq, before.time):
        raise ProtocolError("the answer is older than the one that was accepted",
                            expected=f"one after {before.time}", found=f"one of {answer.time}",
                            fix="ask the coordinator for the newest (`braing3n server answer`)")


def keep_answer(config: SiteConfig, answer: SiteAnswer) -> NetworkFolder:
    """Keep an answer that was accepted; the site is enrolled when the answer itself is there.

    Raises:
        ConfigError: It cannot be written.
    """
    folder = NetworkFolder.of(config)
    make_private_folder(folder.path)
    write_private(folder.authority, answer.authority.encode())
    write_private(folder.answer, render(answer).encode())
    return folder


def accepted(config: SiteConfig) -> SiteAnswer | None:
    """Return the answer that the site has accepted; None where it has not joined.

    Raises:
        ConfigError: It cannot be read, or the CA's file beside it is another.
        ProtocolError: It was edited.
    """
    folder = NetworkFolder.of(config)
    if not is_there(folder.answer):
        return None
    answer = read_signed(SiteAnswer, folder.answer)
    check_signature(answer, answer.coordinator_key, "the coordinator's key that it names")
    is_own = is_there(folder.authority) and read_private(folder.authority) == answer.authority.encode()
    if not is_own:
        raise ConfigError(f"{folder.authority} is not the CA of the answer beside it",
                          expected="the certificate in the answer", found="another file, or none",
                          fix="run `braing3n site accept --replace` with the coordinator's answer")
    return answer


def load_enrolled(config: SiteConfig, now: datetime) -> SiteAnswer:
    """Return the answer by which a site may connect now.

    Raises:
        ConfigError: The site has not joined, its keys cannot be used, or the CA does not hold now.
        ProtocolError: The answer was edited, or is for other keys than the site has now.
    """
    if accepted(config) is None:
        raise ConfigError(f"{config.name} has joined no consortium", found="none",
                          expected="a coordinator's answer that was accepted",
                          fix="run `braing3n site request`, then `braing3n site accept`")
    answer = read_answer(NetworkFolder.of(config).answer, now)
    _check_own(config, answer)
    return answer


def enrolment_line(config: SiteConfig, now: datetime) -> str | None:
    """Return how long a site's enrolment holds, for `site check`; None where it has not joined.

    Raises:
        ConfigError: What was accepted cannot be read.
        ProtocolError: It was edited, or is for other keys.
    """
    answer = accepted(config)
    if answer is None:
        return None
    _check_own(config, answer)
    certificate = load_certificate(answer.authority, "the CA's certificate")
    return validity_line(certificate, f"the CA of consortium {answer.consortium}", now,
                         "ask its coordinator for a new answer")


def tell_enrolment(path: Path) -> None:
    """Say on stderr how long the enrolment of the site with these settings holds, where it has joined.

    Raises:
        ConfigError: See `enrolment_line`.
        ProtocolError: Likewise.
    """
    line = enrolment_line(load_site_config(path), utc_now())
    if line is not None:
        typer.echo(line, err=True)


def _check_own(config: SiteConfig, answer: SiteAnswer) -> None:
    node_key, ledger_key = load_keys(config)
    check_is_for(answer, site=config.name, node_key=node_key_text(node_key.public_key()),
                 ledger_key=ledger_key.public.text)
