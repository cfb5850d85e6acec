"""Whether a run's record and its sites' ledgers tell the same: a ledger alone can leave work out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from braing3n.audit.ledger_line import Line
from braing3n.audit.report.appendix import Appendix
from braing3n.audit.report.given import Given
from braing3n.audit.report.sent import unlike
from braing3n.report.privacy_table import SiteAccount
from braing3n.report.run_folder import RunRecord

# What is no training, and releases nothing of patients where a site with a budget answers it.
MEASURING = "evaluation"
PROBES = "probes"
_RELEASES = {"statistics": "moments"}


class Disagreement(NamedTuple):
    """What a run's record says and a site's ledger does not, or says otherwise.

    Attributes:
        code: `no_ledger`, `unlisted`, `uncharged_metrics`, `uncharged_probes`, `other_plan`,
            `other_mechanism`, `other_epsilon`, `other_release`, `unlisted_site`, `other_site` or
            `other_file`; of signed round records `broken_records`, `unrecorded`,
            `other_participation`, `unlisted_round`, `unsent` or `other_record`.
        site: The site; empty where it is of none.
        what: What was found, and what it means for the claim.
    """

    code: str
    site: str
    what: str


@dataclass(frozen=True)
class Part:
    """What a site did in a run.

    Attributes:
        gave: (stage, round from 1) of training that it is in the result of.
        others: (stage, what) of other exchanges that it answered; (task, `probes`) of probes.
        refused: Stages by the word for why it is not in a result, training and others.
    """

    gave: tuple[tuple[str, int], ...]
    others: tuple[tuple[str, str], ...]
    refused: dict[str, tuple[str, ...]]

    @property
    def is_in_model(self) -> bool:
        """Whether something of its patients is in the run's models."""
        return bool(self.gave) or any(what not in (MEASURING, PROBES) for _, what in self.others)


def part_of(record: RunRecord, site: str) -> Part:
    """Return what a site did in a run."""
    gave, others = [], []
    refused: dict[str, list[str]] = {}
    for stage in record.stages:
        for exchange in [*stage.participation, *stage.other_exchanges]:
            if site in exchange.answered and exchange.round is not None:
                gave.append((stage.name, exchange.round))
            elif site in exchange.answered:
                others.append((stage.name, exchange.what or "another exchange"))
            word = exchange.refused.get(site)
            if word is not None and stage.name not in refused.setdefault(word, []):
                refused[word].append(stage.name)
    others += [(task, PROBES) for task, told in record.probes.tasks.items() if site in told.sites]
    return Part(tuple(gave), tuple(others), {word: tuple(names) for word, names in refused.items()})


def says_dp(account: SiteAccount | None) -> bool:
    """Tell whether a site has told the coordinator of differential privacy for work of its own."""
    return account is not None and any(
        told.noise_multiplier is not None and (told.steps or told.epsilon_stage)
        for told in account.stages.values())


def disagreements(given: Given, ledgers: Sequence[Appendix]) -> list[Disagreement]:
    """Return what a run's record and the ledgers say differently; nothing where there is no record."""
    record = given.record
    if record is None:
        return []
    found: list[Disagreement] = []
    for site in record.sites:
        own = [line for one in ledgers if one.name == site for _, line in one.audit.lines
               if line.run == record.id]
        if any(one.name == site for one in ledgers):
            found += _unlisted(record, site, own)
            found += _uncharged(given, site, own)
            found += _other_plan(record, site, own)
            found += _other_numbers(record, site, own)
            found += _other_release(given, site, own)
        elif says_dp(record.privacy_by_site.get(site)):
            found.append(Disagreement("no_ledger", site, (
                "the run's record repeats a claim of differential privacy by this site, and no ledger "
                "of it was given. Nothing of the claim was checked.")))
    found += _unlisted_sites(given, record)
    found += [Disagreement("other_site", one.name, (
        f"{one.audit.path} is of no site of this run. It says nothing of the run."))
        for one in ledgers if one.name not in record.sites]
    return found


def _unlisted(record: RunRecord, site: str, own: Sequence[Line]) -> Iterator[Disagreement]:
    """Find results of the run that a site is in, and its ledger does not have."""
    settled = {(line.stage, line.what, line.round_index) for line in own if line.kind == "settle"}
    without = {line.stage for line in own if line.is_without_dp}
    part = part_of(record, site)
    lacking = [f"{stage}, round {number}" for stage, number in part.gave
               if stage not in without and (stage, "update", number - 1) not in settled]
    kinds = {(stage, what) for stage, what, _ in settled}
    lacking += [f"{stage}, {what}" for stage, what in part.others
                if what in _RELEASES and stage not in without and (stage, _RELEASES[what]) not in kinds]
    if lacking:
        more = f" and {len(lacking) - 10} more" if len(lacking) > 10 else ""
        yield Disagreement("unlisted", site, (
            f"the run's record has this site in the result of {'; '.join(lacking[:10])}{more}, and its "
            "ledger has no release for that. Something left the site that its account does not list: "
            "more was spent than any number here says."))


def _uncharged(given: Given, site: str, own: Sequence[Line]) -> Iterator[Disagreement]:
    """Find held-out metrics of stages with DP that were never charged."""
    charged = {(line.stage, line.round_index) for line in own if line.what == "metrics"}
    without = {line.stage for line in own if line.is_without_dp}
    lacking = sorted({(line.stage, line.round) for line in given.metrics
                      if (line.site, line.phase) == (site, "evaluate") and line.metrics
                      and line.stage not in without and (line.stage, line.round - 1) not in charged})
    if lacking:
        rounds = ", ".join(f"{stage} round {number}" for stage, number in lacking[:10])
        yield Disagreement("uncharged_metrics", site, (
            f"metrics.jsonl has held-out metrics of this site in {len(lacking)} rounds ({rounds}"
            f"{', ...' if len(lacking) > 10 else ''}), and its ledger charges none for them. They left "
            "without noise, or without account of it: no number here counts them."))
    tasks = [] if given.record is None else [
        task for task, what in part_of(given.record, site).others if what == PROBES]
    if tasks and not without:
        yield Disagreement("uncharged_probes", site, (
            f"the run's record has sums of this site for the probes {', '.join(tasks)}. They are "
            "exact, and no ledger charges them: no number here counts them."))


def _other_plan(record: RunRecord, site: str, own: Sequence[Line]) -> Iterator[Disagreement]:
    """Find entries of the run that were made under another plan."""
    other = [line.seq for line in own if line.plan_digest not in (None, record.plan_digest)
             and line.kind != "refuse"]
    if other:
        yield Disagreement("other_plan", site, (
            f"entry {other[0]} of its ledger names another plan for this run than the run's record "
            f"({len(other)} entries do). One of both is not of this run."))


def _other_numbers(record: RunRecord, site: str, own: Sequence[Line]) -> Iterator[Disagreement]:
    """Find noise, rates and ε that a site has told the coordinator, and its ledger has otherwise."""
    account = record.privacy_by_site.get(site)
    for stage, told in ({} if account is None else account.stages).items():
        updates = [line.mechanism for line in own
                   if (line.kind, line.stage, line.what) == ("settle", stage, "update")]
        numbers = {(one.noise_multiplier, one.sample_rate, one.clip_norm, one.views)
                   for one in updates if one is not None}
        said = (told.noise_multiplier, told.sample_rate, told.clip_norm, told.views)
        steps = sum(one.steps for one in updates if one is not None)
        differs = bool(numbers) and numbers != {said}
        if told.noise_multiplier is not None and (differs or told.steps > steps):
            yield Disagreement("other_mechanism", site, (
                f"the run's record has {told.steps} steps of this site in {stage}, with noise "
                f"multiplier, sample rate, clip norm and views of {_numbers(said)}; its ledger has "
                f"{steps}, with "
                f"{' and '.join(map(_numbers, sorted(numbers, key=str))) or 'none'}. What it was "
                "charged for is not what it told to have done."))
        claims = [line.spent.pld for line in own if line.spent is not None]
        total = told.epsilon_total
        if total is not None and total > 0 and not any(
                abs(claim - total) <= 1e-6 * (1 + total) for claim in claims):
            yield Disagreement("other_epsilon", site, (
                f"the run's record repeats an epsilon of {total:.4f} that this site told after "
                f"{stage}, and no entry of its ledger claims that. The ledger, or the record, is not "
                "whole."))


def _numbers(values: Sequence[object]) -> str:
    return "/".join("none" if value is None else f"{value:g}" for value in values)


def _other_release(given: Given, site: str, own: Sequence[Line]) -> Iterator[Disagreement]:
    """Find updates whose sha256 in the ledger is not that of what was sent."""
    other = list(unlike(given.sent, site, own))
    if other:
        yield Disagreement("other_release", site, (
            f"what this site sent in {'; '.join(other[:10])} has another sha256 than what its ledger "
            "was charged for. Something left that no entry is about."))


def _unlisted_sites(given: Given, record: RunRecord) -> Iterator[Disagreement]:
    """Find sites whose results or manifests are there, and that the record does not name."""
    seen = {line.site for line in given.metrics} | {one.site for one in given.sent}
    for site in sorted(seen - set(record.sites)):
        yield Disagreement("unlisted_site", "", (
            f"results of {site} are in the run's folder, and run.json does not name that site. Nothing "
            "here is said of its patients."))
