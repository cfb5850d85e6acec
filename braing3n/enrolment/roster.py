"""Who belongs to a consortium: every decision on it, in order, chained and signed by the coordinator.

Rules, for whoever decides and whoever reads. They do no I/O.

1. The first decision begins the roster and names the consortium and its CA.
2. A site is enrolled under a name, a SuperNode's key and a ledger's key that were never there before.
3. A site's SuperNode key is replaced by one that was never there before. The ledger's key stays: what a
   site has spent is in that ledger. This is also the way back for a site that was revoked.
4. A site that is enrolled is revoked. Its keys never count as new again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from braing3n.enrolment.decisions import Action, Decision, SiteEntry, sign_decision
from braing3n.errors import ConfigError, ProtocolError
from braing3n.files import ZEROS, digest_bytes
from braing3n.moments import to_text
from braing3n.signing import PublicKey, SigningKey

_RESTORE = "restore the roster and the coordinator's key from the newest backup"


@dataclass(frozen=True)
class Standing:
    """How a site stands.

    Attributes:
        entry: What is known of it.
        is_enrolled: Whether it may take part; else it was revoked.
        since: When that was decided.
        seq: By which decision.
    """

    entry: SiteEntry
    is_enrolled: bool
    since: str
    seq: int


class Roster:
    """All decisions so far, checked, and what follows from them.

    Args:
        lines: The decisions, one a line.
        key: The coordinator's public key.

    Raises:
        ProtocolError: A line is damaged, not by that key, or in another place.
        ConfigError: A decision breaks a rule.
    """

    def __init__(self, lines: Iterable[bytes], key: PublicKey) -> None:
        self.lines: list[bytes] = []
        self.sites: dict[str, Standing] = {}
        self._key = key
        self._begun: Decision | None = None
        self._owners: dict[str, str] = {}  # of every key that was ever there
        for line in lines:
            self._take(self._read(line))
        if self._begun is None:
            raise ProtocolError("the roster is empty", expected="the decision that it begins with",
                                found="nothing", fix=_RESTORE)

    @property
    def begun(self) -> Decision:
        """The first decision.

        Raises:
            ProtocolError: There is none yet.
        """
        if self._begun is None:
            raise ProtocolError("the roster does not begin with its beginning",
                                expected="a decision `begun`", found="another", fix=_RESTORE)
        return self._begun

    def decided(
        self, action: Action, entry: SiteEntry, key: SigningKey, now: datetime,
    ) -> "Roster":
        """Return the roster with one more decision; this one stays as it is.

        Raises:
            ConfigError: The rules do not allow it.
        """
        self.check(action, entry)
        made = sign_decision(
            key, seq=len(self.lines), prev=digest_bytes(self.lines[-1]), time=to_text(now),
            action=action, entry=entry, consortium=self.begun.consortium,
            authority=self.begun.authority)
        return Roster([*self.lines, made.line()], self._key)

    def check(self, action: Action, entry: SiteEntry) -> None:
        """Check that the rules allow a decision on a site.

        Raises:
            ConfigError: They do not.
        """
        if action == "revoked":
            self.enrolled(entry.site)
            return
        if action == "begun":
            raise ConfigError("a roster begins once", expected="a decision on a site",
                              found="another beginning", fix=_RESTORE)
        standing = self.sites.get(entry.site)
        if standing is not None and standing.entry == entry and standing.is_enrolled:
            raise ConfigError(f"{entry.site} was enrolled by this request", expected="a new request",
                              found=f"the one that was granted on {standing.since}",
                              fix="to write its answer again, run `braing3n server answer`")
        if action == "enrolled":
            _check_new_name(entry.site, standing)
            self._check_new_key(entry.ledger_key, "ledger")
        else:
            _check_same_ledger(entry, standing)
        self._check_new_key(entry.node_key, "SuperNode")

    def enrolled(self, site: str) -> Standing:
        """Return how an enrolled site stands.

        Raises:
            ConfigError: There is no such site, or it was revoked.
        """
        standing = self.sites.get(site)
        if standing is None or not standing.is_enrolled:
            names = [name for name, one in self.sites.items() if one.is_enrolled]
            raise ConfigError(
                f"there is no enrolled site `{site}`",
                expected=f"one of {', '.join(names)}" if names else "an enrolled site (there is none)",
                found="a name that nobody has" if standing is None else
                f"one that was revoked on {standing.since}",
                fix="`braing3n server roster` lists the sites")
        return standing

    def _check_new_key(self, key: str, whose: str) -> None:
        owner = self._owners.get(key)
        if owner is not None:
            was = "is" if self.sites[owner].is_enrolled else "was revoked, as"
            raise ConfigError(f"the {whose}'s key {was} that of {owner}",
                              expected="a key that was never in the roster", found="a known one",
                              fix="each site makes its own keys, once (`braing3n site keygen`); for a "
                              "new SuperNode key of a known site see docs/network.md")

    def _read(self, line: bytes) -> Decision:
        number = len(self.lines) + 1
        try:
            decision = Decision.model_validate_json(line)
        except (ValidationError, RecursionError) as error:
            raise _broken(number, "a decision as this version writes it", "other content") from error
        prev = digest_bytes(self.lines[-1]) if self.lines else ZEROS
        if decision.line() != line or not self._key.verify(decision.signed_bytes(), decision.signature):
            raise _broken(number, "a decision signed by the coordinator's key", "an edited one")
        if (decision.seq, decision.prev) != (len(self.lines), prev):
            raise _broken(number, f"decision {len(self.lines)}, after the one before", "another place")
        return decision

    def _take(self, decision: Decision) -> None:
        entry = decision.entry
        if entry is None:
            if decision.action != "begun" or self.lines:
                raise _broken(len(self.lines) + 1, "a site that it is about", "none")
            self._begun = decision
        else:
            begun = self.begun
            if (decision.consortium, decision.authority) != (begun.consortium, begun.authority):
                raise _broken(len(self.lines) + 1, "the consortium that it began with", "another")
            self.check(decision.action, entry)
            self.sites[entry.site] = Standing(entry, decision.action != "revoked", decision.time,
                                              decision.seq)
            self._owners |= dict.fromkeys((entry.node_key, entry.ledger_key), entry.site)
        self.lines.append(decision.line())


def begin_roster(consortium: str, authority: str, key: SigningKey, now: datetime) -> Roster:
    """Return an empty roster.

    Args:
        consortium: The consortium's name.
        authority: sha256 of its CA's certificate (DER).
        key: The coordinator's key.
        now: What time it is.
    """
    first = sign_decision(key, seq=0, prev=ZEROS, time=to_text(now), action="begun",
                          consortium=consortium, authority=authority)
    return Roster([first.line()], key.public)


def _check_new_name(site: str, standing: Standing | None) -> None:
    if standing is None:
        return
    if standing.is_enrolled:
        raise ConfigError(f"the name {site} is taken", expected="a name that no site has",
                          found=f"a site that was enrolled on {standing.since}",
                          fix="agree on another name; if it is the same site with a new SuperNode key, "
                          "add --replace-key")
    raise ConfigError(f"the name {site} was revoked", expected="a name that no site ever had",
                      found=f"a site that was revoked on {standing.since}",
                      fix="agree on another name; if the same site is to come back with a new "
                      "SuperNode key and its old ledger, add --replace-key")


def _check_same_ledger(entry: SiteEntry, standing: Standing | None) -> None:
    if standing is None:
        raise ConfigError(f"there is no site {entry.site} whose key could be replaced",
                          expected="the name of a site in the roster", found="a new one",
                          fix="leave --replace-key out")
    if standing.entry.ledger_key != entry.ledger_key:
        raise ConfigError(f"the request is not from the ledger of {entry.site}",
                          expected=standing.entry.ledger_key, found=entry.ledger_key,
                          fix="the site restores its ledger with its key; if that is lost for good, "
                          "revoke the site, and enrol it under another name")


def _broken(number: int, expected: str, found: str) -> ProtocolError:
    return ProtocolError(f"the roster is damaged in line {number}", expected=expected, found=found,
                         fix=_RESTORE)
