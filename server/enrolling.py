"""The coordinator decides who takes part: the roster on the disk, and answers to sites."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from braing3n.enrolment.answer import consortium_words, make_answer
from braing3n.enrolment.certificates import check_authority, check_current, to_pem
from braing3n.enrolment.decisions import SiteEntry
from braing3n.enrolment.private_files import check_absent, read_private, unwritable, write_private
from braing3n.enrolment.request import SiteRequest
from braing3n.enrolment.roster import Roster, Standing
from braing3n.enrolment.signed_files import render
from braing3n.errors import ConfigError
from braing3n.files import locked, replacing
from braing3n.signing import SigningKey, load_public_key, open_key
from server.authority import digest_of, load_authority, load_server_certificate
from server.consortium import ConsortiumConfig

_MAX_ROSTER_BYTES = 64 << 20
_LOCK = "roster.lock"


def load_roster(config: ConsortiumConfig) -> Roster:
    """Read and check all decisions.

    Raises:
        ConfigError: It cannot be read, or is another consortium's.
        ProtocolError: It is damaged.
    """
    content = read_private(config.roster, _MAX_ROSTER_BYTES)
    roster = Roster(content[:-1].split(b"\n"), load_public_key(config.coordinator_public))
    found = (roster.begun.consortium, roster.begun.authority)
    if found != (config.name, digest_of(load_authority(config))):
        raise ConfigError("the roster is of another consortium",
                          found=f"{found[0]}, CA {found[1][:12]}",
                          expected=f"`name: {config.name}` with the CA in {config.ca_certificate}",
                          fix="correct `name:`, or restore roster and CA from one backup")
    return roster


def words_of(config: ConsortiumConfig) -> str:
    """Return the words that stand for the consortium.

    Raises:
        ConfigError: Its CA's certificate or key cannot be read.
    """
    return consortium_words(config.name, to_pem(load_authority(config)),
                            load_public_key(config.coordinator_public).text)


def check_enrolment(config: ConsortiumConfig, request: SiteRequest, *, replaces_key: bool) -> SiteEntry:
    """Check that a request can be granted, before people compare words; return the entry for it.

    Raises:
        ConfigError: Its name or a key is taken or was revoked.
    """
    entry = SiteEntry.of(request)
    load_roster(config).check("replaced" if replaces_key else "enrolled", entry)
    return entry


def enrol(
    config: ConsortiumConfig, entry: SiteEntry, out: Path, now: datetime, *, replaces_key: bool,
) -> None:
    """Enrol a site and write the answer to it, both or neither.

    Args:
        config: The consortium.
        entry: The site.
        out: Where to write the answer; nothing may be there.
        now: What time it is.
        replaces_key: Whether it is a known site with a new SuperNode key.

    Raises:
        ConfigError: The rules of the roster do not allow it, a certificate does not hold, or something
            cannot be written.
    """
    with _deciding(config) as (roster, key):
        grown = roster.decided("replaced" if replaces_key else "enrolled", entry, key, now)
        with _new_answer(config, grown.enrolled(entry.site), key, out, now):
            _write_roster(config, grown)


def write_answer(config: ConsortiumConfig, site: str, out: Path, now: datetime) -> None:
    """Write the answer to an enrolled site once more, with the server's names of now.

    Raises:
        ConfigError: There is no such site, a certificate does not hold, or it cannot be written.
    """
    with _deciding(config) as (roster, key), _new_answer(config, roster.enrolled(site), key, out, now):
        pass


def revoke(config: ConsortiumConfig, site: str, now: datetime) -> None:
    """Shut a site out.

    Raises:
        ConfigError: There is no such site, or it was revoked already.
    """
    with _deciding(config) as (roster, key):
        entry = roster.enrolled(site).entry
        _write_roster(config, roster.decided("revoked", entry, key, now))


@contextmanager
def _deciding(config: ConsortiumConfig) -> Iterator[tuple[Roster, SigningKey]]:
    """Give the roster and the coordinator's key; nobody else decides meanwhile."""
    try:
        with locked(config.state_dir / _LOCK, waits=True):
            yield load_roster(config), open_key(config.coordinator_key, config.coordinator_public)
    except OSError as error:
        raise unwritable(config.state_dir, error) from error


@contextmanager
def _new_answer(
    config: ConsortiumConfig, standing: Standing, key: SigningKey, out: Path, now: datetime,
) -> Iterator[None]:
    """Have an answer take its place when what is done meanwhile is done."""
    check_absent(out)
    authority, server = load_authority(config), load_server_certificate(config)
    check_authority(authority, now)
    check_current(server, "the server's certificate", now)
    answer = make_answer(config.name, to_pem(authority), config.addresses, standing, key, now)
    try:
        with replacing(out) as part:
            part.write_text(render(answer), encoding="ascii")
            yield
    except OSError as error:
        raise unwritable(out, error) from error


def _write_roster(config: ConsortiumConfig, roster: Roster) -> None:
    write_private(config.roster, b"".join(line + b"\n" for line in roster.lines))
