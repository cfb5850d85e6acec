"""The privacy of a run in words and as a table: what each site has spent, and what it refused."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from braing3n.privacy_messages import PrivacyReport
from braing3n.yaml_files import LenientModel

NOT_TOLD = "-"
SILENT = "no usable answer in this run, so nothing of this site is in its models"
# Why a site is not in a result that it was asked for, by the fixed word that stands for it in run.json.
REFUSALS = {
    "budget": "refused: more than its privacy budget allows",
    "policy": "refused: its settings do not allow it",
    "plan": "refused: nobody there has approved the plan, or it goes beyond the limits there",
    "code": "refused: the server sent code, or a version of the app that its settings do not take",
    "egress": "refused: the reply would hold what the settings there do not let out",
    "held": "refused: a person there did not let the reply out",
    "replay": "refused: a task for what it had released before",
    "ledger": "refused: its privacy ledger is damaged, or not the one that was seen before",
    "stranger": "refused: not a site of this run",
    "config": "failed: its settings are wrong",
    "cohort": "failed: its data hold nothing that can be used",
    "scan": "failed: a scan that cannot be used",
    "output": "failed: it could not write its files",
    "protocol": "failed: a message that is malformed, or of another run or model",
    "digest": "failed: weights that are not the ones that were agreed on",
    "missing_part": "failed: it lacks a frozen part",
    "diverged": "failed: its training left the finite numbers",
    "error": "failed: see its own log",
    "internal": "failed: an error of the program, see its own log",
    "late": "no answer in time",
}
# Where the weights come from that a stage begins with, by the plan's words.
_STARTS = {
    "fresh": "random weights from the plan's seed",
    "phantom": "weights trained on the synthetic phantom, which is nobody's data and costs no privacy",
    "public": "a public checkpoint; what its own training data risk is not counted here",
}


def _known(told: Any) -> Any:
    """Leave out what a later version may add to a site's report."""
    if not isinstance(told, dict):
        return told
    return {key: value for key, value in told.items() if key in PrivacyReport.model_fields}


class SiteAccount(LenientModel):
    """One site in run.json's `privacy_by_site`: what it spent, and what it said last of each stage.

    A site without a budget has no stages here. `refused` has stages by the word for why the site is
    not in all of their results.
    """

    statement: str
    refused: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    stages: dict[str, Annotated[PrivacyReport, BeforeValidator(_known)]] = Field(default_factory=dict)


class Start(LenientModel):
    """Where a stage of run.json began: the source and the digest of its first global weights."""

    source: str
    digest: str


Accounts = Mapping[str, SiteAccount]


@dataclass(frozen=True)
class PrivacyRow:
    """What one site spent in one stage, as the page shows it.

    Attributes:
        site: The site.
        stage: The stage; `NOT_TOLD` for a site without differential privacy.
        reason: Why there is no ε, in place of all four.
        is_bare: Whether the reason stands in place of all that follows, too.
        void_since: The later stage from which on nothing can be said of the run and the cohort.
        epsilon_stage: Of the stage in this run.
        epsilon_run: Of the run, up to the stage's end.
        epsilon_total: Of all that the site ever released on the cohort, up to then, by PLD.
        rdp_total: The same by RDP.
        delta: δ of all four.
        noise_multiplier: σ of the stage's training.
        sample_rate: q.
        steps: Of the stage in this run.
        clip_norm: C.
        views: K.
        num_subjects: The public number of subjects.
        engine: How clipped sums were computed.
        signal_to_noise: Of what was released in the stage's last round.
    """

    site: str
    stage: str
    reason: str | None
    is_bare: bool = False
    void_since: str | None = None
    epsilon_stage: str = NOT_TOLD
    epsilon_run: str = NOT_TOLD
    epsilon_total: str = NOT_TOLD
    rdp_total: str = NOT_TOLD
    delta: str = NOT_TOLD
    noise_multiplier: str = NOT_TOLD
    sample_rate: str = NOT_TOLD
    steps: str = NOT_TOLD
    clip_norm: str = NOT_TOLD
    views: str = NOT_TOLD
    num_subjects: str = NOT_TOLD
    engine: str = NOT_TOLD
    signal_to_noise: str = NOT_TOLD


def sites_with_dp(accounts: Accounts, stage: str) -> tuple[str, ...]:
    """Return the sites that train a stage with differential privacy or not at all."""
    return tuple(site for site, account in accounts.items()
                 if stage in account.stages and is_dp(account.stages[stage]))


def is_dp(report: PrivacyReport) -> bool:
    """Return whether a stage was trained with noise: a site with a budget may leave stages out."""
    return report.noise_multiplier is not None


def is_unspent(report: PrivacyReport) -> bool:
    """Return whether a site released nothing of its patients in a stage: it took no part."""
    return report.void is None and not report.steps and not report.epsilon_stage


def refusals(accounts: Accounts) -> list[tuple[str, tuple[str, ...]]]:
    """Return (site, why it is not in results that it was asked for, with the stages, in words)."""
    return [(site, tuple(f"{REFUSALS.get(word, word)} ({', '.join(stages)})"
                         for word, stages in account.refused.items()))
            for site, account in accounts.items() if account.refused]


def statements(accounts: Accounts, answered: Collection[str]) -> list[tuple[tuple[str, ...], str]]:
    """Return (sites, what each of them has spent), sites of one statement together.

    Args:
        accounts: By site.
        answered: The sites that are in any result of the run.
    """
    groups: dict[str, list[str]] = {}
    for site, account in accounts.items():
        groups.setdefault(_statement(site, account, answered), []).append(site)
    return [(tuple(sites), statement) for statement, sites in groups.items()]


def privacy_rows(accounts: Accounts, answered: Collection[str]) -> list[PrivacyRow]:
    """Return the rows of the table: one for each site and stage, one for a site without a budget.

    Args:
        accounts: By site.
        answered: The sites that are in any result of the run.
    """
    rows = []
    for site, account in accounts.items():
        if not account.stages:
            rows.append(PrivacyRow(site, NOT_TOLD, _statement(site, account, answered), is_bare=True))
            continue
        void_from = next((stage for stage, told in account.stages.items() if told.void), None)
        rows += [_row(site, stage, told, account, void_from)
                 for stage, told in account.stages.items()]
    return rows


def unprotected(accounts: Accounts, answered: Collection[str]) -> tuple[str, ...]:
    """Return the sites in the run's results for whose patients no (ε, δ) holds.

    Args:
        accounts: By site.
        answered: The sites that are in any result of the run.
    """
    return tuple(site for site, account in accounts.items() if (
        any(told.void for told in account.stages.values()) if account.stages else site in answered))


def starts_in_words(starts: Mapping[str, Start]) -> list[tuple[str, str, str]]:
    """Return (stage, where its first weights come from, their digest)."""
    return [(stage, _STARTS.get(start.source, start.source), start.digest)
            for stage, start in starts.items()]


def _statement(site: str, account: SiteAccount, answered: Collection[str]) -> str:
    is_silent = not account.stages and not account.refused and site not in answered
    return SILENT if is_silent else account.statement


def _row(site: str, stage: str, told: PrivacyReport, account: SiteAccount, void_from: str | None
         ) -> PrivacyRow:
    """Return a stage's row; what counts the whole cohort is void from a later stage's fault on, too."""
    reason = None
    if is_unspent(told):
        why = [REFUSALS.get(word, "") for word, stages in account.refused.items() if stage in stages]
        refused = "refused: " if any(reason.startswith("refused") for reason in why) else ""
        return PrivacyRow(site, stage, f"{refused}took no part, nothing spent", is_bare=True)
    if told.void is not None:
        reason = (account.statement if is_dp(told)
                  else f"trained without differential privacy; {account.statement}")
    since = void_from if told.void is None else None
    return PrivacyRow(
        site, stage, reason, void_since=since, epsilon_stage=_number(told.epsilon_stage),
        epsilon_run=_number(None if since else told.epsilon_run),
        epsilon_total=_number(None if since else told.epsilon_total),
        rdp_total=_number(None if since else told.rdp_total), delta=f"{told.delta:g}",
        noise_multiplier=_number(told.noise_multiplier), sample_rate=_number(told.sample_rate),
        steps=f"{told.steps:,}" if is_dp(told) else NOT_TOLD, clip_norm=_number(told.clip_norm),
        views=_number(told.views), num_subjects=_number(told.num_subjects),
        engine=told.engine or NOT_TOLD, signal_to_noise=_number(told.signal_to_noise))


def _number(value: float | None) -> str:
    if value is None:
        return NOT_TOLD
    return f"{value:,.0f}" if isinstance(value, int) or value >= 1000 else f"{value:.3g}"
