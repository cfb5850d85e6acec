"""A site and a consortium in memory: what they sign, and the files that they would mail."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from braing3n.enrolment.answer import SiteAnswer, make_answer
from braing3n.enrolment.certificates import make_authority, new_key, to_pem
from braing3n.enrolment.decisions import SiteEntry
from braing3n.enrolment.request import SiteRequest, make_request
from braing3n.enrolment.roster import Standing
from braing3n.enrolment.signed_files import render
from braing3n.signing import SigningKey

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class MadeSite:
    """A site's name and secret keys, made anew with every object."""

    name: str
    node_key: EllipticCurvePrivateKey
    ledger_key: SigningKey

    def request(self, now: datetime = NOW) -> SiteRequest:
        return make_request(self.name, node_key=self.node_key, ledger_key=self.ledger_key,
                            version="0.1.0", now=now)


def ed25519() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.generate())


def made_site(name: str = "hospital-a") -> MadeSite:
    return MadeSite(name, new_key(), ed25519())


def made_answer(request: SiteRequest, key: SigningKey, consortium: str = "demo") -> SiteAnswer:
    authority = make_authority(consortium, new_key(), NOW)
    return make_answer(consortium, to_pem(authority), ("localhost:9443",),
                       Standing(SiteEntry.of(request), True, "2026-03-01T12:00:00Z", 1), key, NOW)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def site() -> MadeSite:
    return made_site()


@pytest.fixture
def other() -> MadeSite:
    return made_site("hospital-b")


@pytest.fixture
def coordinator() -> SigningKey:
    return ed25519()


@pytest.fixture
def answer(site: MadeSite, coordinator: SigningKey) -> SiteAnswer:
    return made_answer(site.request(), coordinator)


@pytest.fixture
def mailed(tmp_path: Path):
    """Write a file as it would be mailed: an object of ours, or any bytes."""

    def write(content: SiteRequest | SiteAnswer | bytes) -> Path:
        path = tmp_path / "mailed.json"
        path.write_bytes(content if isinstance(content, bytes) else render(content).encode())
        return path

    return write
