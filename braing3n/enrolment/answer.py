"""The coordinator's answer to a site: where the server is, its CA, and what the site is there."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from braing3n.enrolment.certificates import check_authority, load_certificate
from braing3n.enrolment.decisions import SiteEntry
from braing3n.enrolment.roster import Standing
from braing3n.enrolment.signed_files import (
    Ed25519Key,
    SignedFile,
    check_signature,
    read_signed,
    sign,
)
from braing3n.enrolment.words import fingerprint_words
from braing3n.errors import ProtocolError
from braing3n.moments import check_not_ahead, to_text
from braing3n.protocol import SiteName
from braing3n.signing import SigningKey

MAX_NAMES = 8
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\[\]-]{3,261}$")]


class SiteAnswer(SignedFile):
    """What a site needs in order to connect, and to know whom to.

    Attributes:
        consortium: The consortium's name.
        authority: Its CA's certificate as PEM.
        addresses: The server as HOST:PORT, by each of its names.
        coordinator_key: The coordinator's public key, which signs the answer.
        entry: The site as the roster has it.
        seq: The decision that made it so; a later answer has no smaller number.
    """

    limit: ClassVar[int] = 8192

    kind: Literal["braing3n-site-answer-1"] = "braing3n-site-answer-1"
    consortium: SiteName
    authority: Annotated[str, Field(max_length=3000)]
    addresses: Annotated[tuple[Address, ...], Field(min_length=1, max_length=MAX_NAMES)]
    coordinator_key: Ed25519Key
    entry: SiteEntry
    seq: Annotated[int, Field(ge=1)]

    @property
    def words(self) -> str:
        """What the coordinator reads out: the same words for every site."""
        return consortium_words(self.consortium, self.authority, self.coordinator_key)


def consortium_words(consortium: str, authority: str, coordinator_key: str) -> str:
    """Return the words that stand for a consortium: its name, CA and coordinator's key."""
    return fingerprint_words({"kind": "braing3n-consortium-1", "consortium": consortium,
                              "authority": authority, "coordinator_key": coordinator_key})


def make_answer(
    consortium: str, authority: str, addresses: tuple[str, ...], standing: Standing, key: SigningKey,
    now: datetime,
) -> SiteAnswer:
    """Return the answer to a site, signed.

    Args:
        consortium: The consortium's name.
        authority: Its CA's certificate as PEM.
        addresses: The server's names with its port.
        standing: How the site stands.
        key: The coordinator's key.
        now: What time it is.
    """
    return sign(SiteAnswer(
        consortium=consortium, authority=authority, addresses=addresses, entry=standing.entry,
        coordinator_key=key.public.text, seq=standing.seq, time=to_text(now)), key)


def read_answer(path: Path, now: datetime) -> SiteAnswer:
    """Read an answer, and check all that can be checked without knowing the site.

    Raises:
        ConfigError: It cannot be read, comes from the future, or its CA's certificate does not hold.
        ProtocolError: It is none, was edited, or its CA is no CA.
    """
    answer = read_signed(SiteAnswer, path)
    check_signature(answer, answer.coordinator_key, "the coordinator's key that it names")
    check_not_ahead(answer.time, "the answer", now)
    check_authority(load_certificate(answer.authority, "the CA's certificate in the answer"), now)
    return answer


def check_is_for(answer: SiteAnswer, *, site: str, node_key: str, ledger_key: str) -> None:
    """Check that an answer is for this site and its own keys.

    Args:
        answer: What came.
        site: The site's name in its settings.
        node_key: The public key of its SuperNode.
        ledger_key: The public key of its ledger.

    Raises:
        ProtocolError: It is for another.
    """
    ask = "ask the coordinator for the answer to this site's last request"
    for what, expected, found, fix in (
        ("site", site, answer.entry.site, ask),
        ("SuperNode key", node_key, answer.entry.node_key,
         f"{ask}; if the key was made anew since, send a new request"),
        ("ledger", ledger_key, answer.entry.ledger_key, ask),
    ):
        if expected != found:
            raise ProtocolError(f"the answer is for another {what}", expected=expected, found=found,
                                fix=fix)
