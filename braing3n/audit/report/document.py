"""All that an audit report says, put together from files; pages and programs only show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from braing3n.audit.report.accounts import (
    LimitRow,
    ParameterRow,
    ShareRow,
    Total,
    limits,
    parameters,
    shares,
    totals,
)
from braing3n.audit.report.agreement import Disagreement, disagreements
from braing3n.audit.report.appendix import Appendix, appendices
from braing3n.audit.report.commands import Command, commands
from braing3n.audit.report.digests import DigestRow, digest_rows
from braing3n.audit.report.given import Given
from braing3n.audit.report.participation import ExchangeRow, RefusalRow, exchanges, refusals
from braing3n.audit.report.promises import Promise, cohort_promises, promises
from braing3n.audit.report.releases import ReleaseRow, Transfer, releases, transfers
from braing3n.audit.report.round_agreement import Seen, round_disagreements, seen_by_site
from braing3n.audit.report.sent import SentRow, sent_rows
from braing3n.audit.report.spending import Course, courses
from braing3n.audit.report.uncovered import Gap, gaps


@dataclass(frozen=True)
class Document:
    """An audit report.

    Attributes:
        given: The files.
        version: Of the software that wrote it.
        written: When, UTC.
        ledgers: The ledgers as its appendix lists them.
        promises: What one patient of each site is promised.
        disagreements: What the run's record, the ledgers and signed round records say differently.
        totals: ε by site.
        shares: ε by stage, run and kind of release.
        limits: What hospitals decided.
        parameters: How releases were noised.
        courses: What was spent over time.
        releases: What left each site.
        sent: Replies, as their manifests have them.
        transfers: How much went to and fro.
        exchanges: Who took part in what.
        seen: How far each site has signed for round records.
        refusals: What was refused, by the ledgers.
        digests: Whether files are the ones that the record names.
        gaps: What is not covered.
        commands: How to come to the same numbers.
    """

    given: Given
    version: str
    written: str
    ledgers: tuple[Appendix, ...]
    promises: tuple[Promise, ...]
    disagreements: tuple[Disagreement, ...]
    totals: tuple[Total, ...]
    shares: tuple[ShareRow, ...]
    limits: tuple[LimitRow, ...]
    parameters: tuple[ParameterRow, ...]
    courses: tuple[Course, ...]
    releases: tuple[ReleaseRow, ...]
    sent: tuple[SentRow, ...]
    transfers: tuple[Transfer, ...]
    exchanges: tuple[ExchangeRow, ...]
    seen: tuple[Seen, ...]
    refusals: tuple[RefusalRow, ...]
    digests: tuple[DigestRow, ...]
    gaps: tuple[Gap, ...]
    commands: tuple[Command, ...]

    @property
    def failed_attacks(self) -> int:
        """How many empirical audits speak against the code."""
        return sum(bool(attack.record.speaks_against) for attack in self.given.attacks)

    @property
    def num_findings(self) -> int:
        """How much speaks against the claims."""
        verified = self.given.verified
        return (len(verified.findings) + sum(len(one.findings) for one in verified.ledgers)
                + len(self.disagreements) + self.failed_attacks)

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against the claims."""
        return not self.num_findings


def examine(given: Given) -> Document:
    """Return all that a report says of what was given."""
    ledgers = appendices(given.verified.ledgers)
    digests = [] if given.run is None or given.record is None else digest_rows(given.run, given.record)
    differing = [*disagreements(given, ledgers), *_other_files(digests), *(
        [] if given.record is None else round_disagreements(given.rounds, given.record, given.sent))]
    promised = promises(given.record, ledgers, _unsupported(given, ledgers, differing))
    cohorts = [cohort for one in ledgers for cohort in cohort_promises(one)]
    rows = releases(given, ledgers)
    return Document(
        given, _version(), _now(), tuple(ledgers), tuple(promised), tuple(differing),
        tuple(totals(cohorts)), tuple(shares(cohorts)), tuple(limits(ledgers)),
        tuple(parameters(ledgers)), tuple(courses(cohorts)), tuple(rows),
        tuple(sent_rows(given.sent)), tuple(transfers(given)),
        () if given.record is None else tuple(exchanges(given.record)),
        () if given.record is None else tuple(seen_by_site(given.record, given.sent)),
        tuple(refusals(ledgers)),
        tuple(digests), tuple(gaps(given, ledgers, promised, rows)), tuple(commands(given, ledgers)))


def _unsupported(given: Given, ledgers: Sequence[Appendix], differing: Sequence[Disagreement],
                 ) -> set[str]:
    """Return the sites whose claims do not hold; wrong receipts leave open what any ledger lacks."""
    is_open = bool(given.verified.findings)
    return {one.name for one in ledgers if is_open or one.audit.findings} | {
        one.site for one in differing}


def _other_files(digests: Sequence[DigestRow]) -> list[Disagreement]:
    return [Disagreement("other_file", "", (
        f"{row.file} is not the file that run.json names as {row.what} ({row.kind}). Nothing here is "
        "said of it.")) for row in digests if row.is_equal is False]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _version() -> str:
    try:
        return version("braing3n")
    except PackageNotFoundError:
        return "not installed"
