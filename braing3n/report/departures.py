"""What left the sites in a run: how much of it, and from which of them with noise."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from braing3n.report.privacy_table import is_dp, is_unspent, sites_with_dp
from braing3n.report.run_folder import MetricLine, RunRecord

# In a cell of a table.
_MAX_NAMED = 4


@dataclass(frozen=True)
class Departures:
    """What left the sites, in words and names.

    Attributes:
        up: Bytes that all sites sent.
        down: Bytes that they were sent.
        answers: The number of answers.
        each: Bytes of an answer, on average.
        plain: Sites without differential privacy.
        noised: Sites that trained with it, and no stage without.
        unspent: Sites with a budget that released nothing of their patients.
        partly: Sites with a budget that trained some stages without it, and which.
        losses: Of the sites with noise, those whose training losses left with it.
        metrics: Of them, those whose held-out metrics left with noise; the others withheld them.
    """

    up: str
    down: str
    answers: str
    each: str
    plain: tuple[str, ...]
    noised: tuple[str, ...]
    unspent: tuple[str, ...]
    partly: tuple[str, ...]
    losses: tuple[str, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """Which sites' held-out metrics of a stage lack, or carry noise.

    Attributes:
        withheld: Sites with differential privacy that gave none.
        noised: Those that gave noised ones.
        is_all: Whether no site gave any, as all of them withheld theirs.
    """

    withheld: tuple[str, ...]
    noised: tuple[str, ...]
    is_all: bool


def departures(record: RunRecord, lines: Sequence[MetricLine]) -> Departures:
    """Return what left the sites in a run."""
    up = sum(stage.bytes_up for stage in record.stages)
    down = sum(stage.bytes_down + stage.bytes_frozen for stage in record.stages)
    answers = sum(len(exchange.answered) for stage in record.stages
                  for exchange in stage.participation + stage.other_exchanges)
    accounts = record.privacy_by_site
    without = {site: [stage for stage, told in account.stages.items() if not is_dp(told)]
               for site, account in accounts.items() if account.stages}
    unspent = tuple(site for site in without if all(map(is_unspent, accounts[site].stages.values())))
    answered = sites_in(record)
    return Departures(
        up=human_bytes(up), down=human_bytes(down), answers=f"{answers:,}",
        each=human_bytes(up / answers) if answers else "nothing",
        plain=tuple(site for site in record.sites if site not in without and site in answered),
        noised=tuple(site for site, stages in without.items() if not stages and site not in unspent),
        unspent=unspent,
        partly=tuple(f"{site} ({', '.join(stages)})" for site, stages in without.items()
                     if stages and site not in unspent),
        losses=_told_with_dp(record, lines, "train"), metrics=_told_with_dp(record, lines, "evaluate"))


def measured(record: RunRecord, stage: str, lines: Sequence[MetricLine]) -> Measured:
    """Return whose held-out metrics of a stage lack, or carry noise.

    Args:
        record: The run.
        stage: The stage's name.
        lines: All lines of metrics.jsonl.
    """
    told = {line.site for line in lines if (line.stage, line.phase) == (stage, "evaluate")}
    with_dp = sites_with_dp(record.privacy_by_site, stage)
    withheld = tuple(site for site in with_dp if site not in told)
    return Measured(withheld, tuple(site for site in with_dp if site in told),
                    bool(withheld) and not told)


def sites_in(record: RunRecord) -> Collection[str]:
    """Return the sites that are in any result of the run."""
    return {site for stage in record.stages for exchange in stage.participation + stage.other_exchanges
            for site in exchange.answered}


def named(sites: Sequence[str]) -> str:
    """Return sites by name where they are few, else their number."""
    return ", ".join(sites) if len(sites) <= _MAX_NAMED else f"{len(sites)} sites"


def human_bytes(count: float) -> str:
    """Return a number of bytes in words: `2.05 MB` is 2,050,000 bytes."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def _told_with_dp(record: RunRecord, lines: Sequence[MetricLine], phase: str) -> tuple[str, ...]:
    """Return the sites that told something of a phase of stages that they trained with DP."""
    with_dp = {(site, stage.name) for stage in record.stages
               for site in sites_with_dp(record.privacy_by_site, stage.name)}
    told = {line.site for line in lines
            if line.phase == phase and (line.site, line.stage) in with_dp}
    return tuple(site for site in record.sites if site in told)
