"""Whether sites' ledgers hold, from files alone: ledgers, public keys, receipts."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from braing3n.audit import ledger_rules as rules
from braing3n.audit.findings import Finding
from braing3n.audit.ledger_file import read_ledger
from braing3n.audit.ledger_line import MAX_BYTES, Line, Seen, look_at
from braing3n.audit.receipts import (
    Receipt,
    ReceiptFile,
    between_files,
    hold,
    read_receipts,
    replaced,
)
from braing3n.audit.recompute import Recomputed, check_spending, recompute
from braing3n.errors import ConfigError

KEY_FILE = "ledger.pub"
_KEY = re.compile("ed25519:([0-9a-f]{64})\n?")


@dataclass(frozen=True)
class LedgerAudit:
    """What came out for one ledger.

    Attributes:
        path: The file.
        site: The site's agreed name, as receipts or the folder have it; None if neither does.
        public_key: The key that it was checked with, as text.
        lines: What could be read, with the number of each line.
        digests: sha256 of each line, of those that cannot be read too.
        findings: What is wrong.
        notes: What a reader must know besides.
        cohorts: ε, rebuilt.
    """

    path: Path
    site: str | None
    public_key: str
    lines: tuple[tuple[int, Line], ...]
    digests: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    cohorts: tuple[Recomputed, ...]

    @property
    def num_entries(self) -> int:
        """Lines in all."""
        return len(self.digests)


@dataclass(frozen=True)
class Verified:
    """What came out for all that was given.

    Attributes:
        ledgers: One for each.
        findings: What is wrong with the receipts, and between copies of a ledger.
        notes: What a reader must know of them.
    """

    ledgers: tuple[LedgerAudit, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong anywhere."""
        return not self.findings and not any(ledger.findings for ledger in self.ledgers)


def verify(ledgers: Sequence[Path], receipts: Sequence[Path] = (), keys: Sequence[Path] = (),
           ) -> Verified:
    """Check ledgers, and hold them to receipts.

    Args:
        ledgers: ledger.jsonl of one or several sites.
        receipts: receipts.jsonl of the coordinator, and of sites.
        keys: Public keys of ledgers; without them, each ledger's own from the file beside it.

    Raises:
        LedgerError: A file cannot be read.
        ConfigError: A key is missing, or is none.
    """
    known = [read_key(path) for path in keys]
    files = [read_receipts(path) for path in receipts]
    every = tuple(receipt for file in files for receipt in file.receipts)
    findings = [finding for file in files for finding in file.findings]
    findings += between_files(files)
    opened = [(path, _key_for(path, known)) for path in ledgers]
    audits = [_audit(path, key, [one for _, one in opened], every) for path, key in opened]
    findings += between_copies(audits)
    return Verified(tuple(audits), tuple(findings), tuple(_notes_on(files)))


def between_copies(audits: Sequence[LedgerAudit]) -> Iterator[Finding]:
    """Find copies of one ledger that were gone on with differently; one may be shorter."""
    first: dict[str, LedgerAudit] = {}
    for audit in audits:
        other = first.setdefault(audit.public_key, audit)
        apart = [number for number, pair in enumerate(zip(audit.digests, other.digests, strict=False))
                 if pair[0] != pair[1]]
        if apart:
            yield Finding("two_writers", apart[0], f"entry {apart[0]} is another one in {audit.path} "
                          f"than in {other.path}, which has the same key")
        elif len(audit.digests) > len(other.digests):
            first[audit.public_key] = audit


def read_key(path: Path) -> bytes:
    """Return the raw public key of a file.

    Raises:
        ConfigError: There is none.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", expected="the public key of the ledger",
                          found=error.strerror or type(error).__name__,
                          fix="ask the site for its ledger.pub, and name it with --pubkey") from error
    match = _KEY.fullmatch(text)
    if match is None:
        raise ConfigError(f"{path} holds no public key", found=f"{len(text)} other characters",
                          expected="one line: `ed25519:` and 64 lower-case hexadecimal digits",
                          fix="ask the site for its ledger.pub")
    return bytes.fromhex(match[1])


def name_of(path: Path, key: bytes, receipts: Sequence[Receipt], *, is_by_key: bool) -> str | None:
    """Return the agreed name of a ledger's site: as receipts have it, or else as its folder.

    Args:
        path: The ledger.
        key: The key that it was checked with.
        receipts: All that there are.
        is_by_key: Whether that key has signed any of it; somebody else's key does not name it.
    """
    by_key = [receipt.site for receipt in receipts if is_by_key and receipt.site_key == key]
    folder = path.absolute().parent.name
    if by_key:
        return by_key[-1]
    return folder if any(receipt.site == folder for receipt in receipts) else None


def _audit(path: Path, key: bytes, keys: Sequence[bytes], receipts: Sequence[Receipt]) -> LedgerAudit:
    seen, findings = read_ledger(path, key)
    lines = [(number, one.line) for number, one in enumerate(seen) if one.line is not None]
    findings += [finding for one in seen for finding in one.findings]
    findings += rules.check_order(seen)
    findings += rules.check_times(lines)
    findings += rules.check_settles(lines)
    findings += rules.check_budgets(lines)
    is_by_key = not all(any(one.code == "key" for one in line.findings) for line in seen)
    site = name_of(path, key, receipts, is_by_key=is_by_key)
    findings += hold(seen, key, site, receipts)
    findings += [] if site is not None else replaced(seen, key, keys, receipts)
    work = rules.work_of(lines)
    findings += check_spending(work, rules.decisions_of(lines))
    without = {line.cohort for _, line in lines if line.is_without_dp}
    cohorts = recompute(work, [str(name) for name in without])
    findings += _understated(cohorts)
    ordered = sorted(findings, key=lambda one: -1 if one.entry is None else one.entry)
    return LedgerAudit(path, site, f"ed25519:{key.hex()}", tuple(lines),
                       tuple(one.digest for one in seen), tuple(ordered),
                       tuple(_notes(seen, lines, key, receipts, cohorts)), tuple(cohorts))


def _understated(cohorts: Sequence[Recomputed]) -> Iterator[Finding]:
    for one in cohorts:
        if one.is_understated:
            found = "no number" if one.bounds.pld is None else f"{one.bounds.pld:.6g}"
            yield Finding("understated", None, f"cohort {one.cohort}: claimed {one.claimed.pld:.6g} "
                          f"(RDP {one.claimed.rdp:.6g}), and its entries come to {found}")


def _key_for(path: Path, keys: Sequence[bytes]) -> bytes:
    """Return the key to check a ledger with: the one that its first entry names, if it is given."""
    if not keys:
        return read_key(path.parent / KEY_FILE)
    if len(keys) == 1:
        return keys[0]
    fits = [key for key in keys if _is_first_by(path, key)]
    return fits[0] if fits else keys[0]


def _is_first_by(path: Path, key: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            line = stream.readline(MAX_BYTES + 1)
    except OSError:
        return False  # reading all of it says why
    return not look_at(0, line.removesuffix(b"\n"), key).findings


def _notes(
    seen: Sequence[Seen], lines: Sequence[tuple[int, Line]], key: bytes, receipts: Sequence[Receipt],
    cohorts: Sequence[Recomputed],
) -> list[str]:
    """Return what a reader must know of a ledger that may well hold."""
    notes = [f"these patients ({one.cohort}) were also trained on without differential privacy: no "
             "epsilon says anything about what they risk" for one in cohorts if one.is_void]
    unsettled = sum(one.num_unsettled for one in cohorts)
    if unsettled:
        notes.append(f"{unsettled} charges were never settled, as the site was stopped; they count in "
                     "full")
    notes += rules.shortened(rules.work_of(lines), lines)
    notes += rules.gaps(lines)
    notes += _decided(lines)
    refused = Counter(line.code for _, line in lines if line.kind == "refuse")
    notes += [f"refused {count} times: {code}" for code, count in refused.items()]
    own = [receipt.seq for receipt in receipts if receipt.site_key == key]
    after = len(seen) - 1 - max(own, default=-1)
    if not own:
        notes.append("no receipt is for this ledger: whether lines are missing at its end cannot be "
                     "told")
    elif after > 0:
        notes.append(f"the last {after} entries are later than any receipt: whether more followed "
                     "cannot be told")
    return notes


def _decided(lines: Sequence[tuple[int, Line]]) -> list[str]:
    """Return what the hospital decided, and when it allowed more."""
    told: list[str] = []
    before: dict[str, rules.Decision] = {}
    for decision in rules.decisions_of(lines):
        earlier = before.get(decision.cohort)
        limit = f"an epsilon of {decision.epsilon:g} at delta {decision.delta:g}"
        if earlier is None:
            told.append(f"entry {decision.entry}, {decision.time}: the hospital allows {limit} for "
                        f"cohort {decision.cohort}")
        elif (earlier.epsilon, earlier.delta) != (decision.epsilon, decision.delta):
            told.append(f"entry {decision.entry}, {decision.time}: changed for cohort "
                        f"{decision.cohort}, from {earlier.epsilon:g} at {earlier.delta:g} to {limit}")
        before[decision.cohort] = decision
    return told


def _notes_on(files: Sequence[ReceiptFile]) -> list[str]:
    if not files:
        return ["no receipts were given: a ledger that was cut at its end, or restored from a backup, "
                "looks whole"]
    whose = {True: "as a site has kept them, or without the coordinator's key beside them: some may be "
                   "missing", False: "the coordinator's own; whether its last ones are missing, sites' "
                    "copies show"}
    return [f"{file.path}: {len(file.receipts)} receipts, {whose[file.coordinators_key is None]}"
            for file in files]
