"""What sites said of their privacy, as it stands in run.json and in words; sites' ledgers prove it."""

from collections.abc import Mapping, Sequence
from typing import Any

from braing3n.plan import StageName
from braing3n.privacy_messages import PrivacyReport
from braing3n.privacy_plan import PlanBudget
from server.outcome import StageRecord

NO_PRIVACY = ("no differential privacy and no secure aggregation: the coordinator sees each site's "
              "update, and the sums that it gives for probes; these and the finished models can "
              "reveal training data")
WITHOUT_DP = "no differential privacy; updates can reveal training data"
NOTHING_GIVEN = "nothing of this site is in any result"
NOTHING_SPENT = "took no part, nothing spent"
WHY_VOID = {
    "without_dp": "no ε can be given: the same patients were also trained on without differential "
                  "privacy, on which the later work builds",
    "beyond": "no ε can be given: what was spent is beyond what accountants put into a number",
}
# Sites decide these before they reserve anything in their ledgers; others may come after that.
_BEFORE_SPENDING = frozenset({"budget", "policy"})
# Answered by sites that did not train, too; all other exchanges release something of patients.
_MEASURING = "evaluation"


def statement_of(report: PrivacyReport | None) -> str:
    """Return in words what one site has spent so far, in this run and in all."""
    if report is None:
        return WITHOUT_DP
    if report.void is not None:
        return WHY_VOID[report.void]
    if report.epsilon_total is None:
        return "nothing was released yet"
    own = "" if report.epsilon_run is None else f" (this run by itself: ε = {report.epsilon_run:.3g})"
    return (f"{_spent(report)}, over all that this site has released for this cohort up to its last "
            f"answer{own}")


def account_of(records: Sequence[StageRecord], sites: Sequence[str]) -> dict[str, Any]:
    """Return for each site its statement, and for each stage what it reported last.

    Where a site was asked and is not in a result, `refused` says which words stand for that, and in
    which stages.
    """
    account: dict[str, Any] = {}
    for site in sites:
        reports = {record.name: record.privacy[site] for record in records if site in record.privacy}
        refused = _refused(records, site)
        account[site] = {"statement": _statement(records, site, reports, refused), "stages": reports,
                         **({"refused": refused} if refused else {})}
    return account


def summary_of(account: Mapping[str, Any], limits: PlanBudget | None = None) -> str:
    """Return in a few sentences what sites spent so far, and at which of them no ε holds.

    Args:
        account: By site, from `account_of`.
        limits: The plan's budget.
    """
    refused = "; ".join(f"{site}: {_words(told['refused'])}" for site, told in account.items()
                        if "refused" in told)
    lost = f" Asked, and not in the result: {refused}." if refused else ""
    with_dp = [site for site, told in account.items() if told["stages"]]
    if not with_dp:
        return f"{NO_PRIVACY}.{lost}" if lost else NO_PRIVACY
    without = [site for site, told in account.items() if told["statement"] == WITHOUT_DP]
    lacking = (f" No differential privacy at {', '.join(without)}: their updates can reveal training "
               "data." if without else "")
    alike: dict[str, list[str]] = {}
    for site in with_dp:
        alike.setdefault(account[site]["statement"], []).append(site)
    statements = "; ".join(f"{', '.join(sites)}: {statement}" for statement, sites in alike.items())
    return (f"Spent so far: {statements}.{limit_of(limits)}{lacking}{lost} No secure aggregation: the "
            "coordinator sees each site's update.")


def limit_of(limits: PlanBudget | None) -> str:
    """Return in words what the plan lets a run cost, and that sites' own limits are not known."""
    plan = ("" if limits is None else " The plan lets this run cost a site at most "
            f"ε = {limits.epsilon:.4g} at δ = {limits.delta:g}.")
    return f"{plan} Each site's own limit on ε stays at the site and is not known here."


def _statement(records: Sequence[StageRecord], site: str, reports: Mapping[StageName, Any],
               refused: Mapping[str, Sequence[str]]) -> str:
    """Return a site's statement; that of one which gave nothing does not read like a result."""
    entries = [entry for record in records for entry in [*record.participation, *record.other_exchanges]
               if site in entry["answered"]]
    refusal = "" if not refused else "no answer in time: " if set(refused) == {"late"} else "refused: "
    if not reports:
        is_unspent = refused and set(refused) <= _BEFORE_SPENDING
        return (WITHOUT_DP if entries else f"{refusal}{NOTHING_SPENT} in this run" if is_unspent
                else f"{refusal}{NOTHING_GIVEN}")
    last = _report(list(reports.values())[-1])
    has_worked = any(entry.get("what") != _MEASURING for entry in entries)
    if has_worked or last.void is not None or last.epsilon_run != 0:
        return statement_of(last)
    nothing = f"{refusal}{NOTHING_SPENT} in this run" + (
        "" if set(refused) <= _BEFORE_SPENDING else " up to its last answer")
    before = f"; before it: {_spent(last)}, over all that this site had released for this cohort"
    return nothing + (before if last.epsilon_total else "")


def _spent(report: PrivacyReport) -> str:
    return (f"({report.epsilon_total:.3g}, {report.delta:g})-differential privacy for one patient of "
            "this site")


def _refused(records: Sequence[StageRecord], site: str) -> dict[str, list[str]]:
    """Return why a site is not in results that it was asked for: (word, stages), both in order."""
    refused: dict[str, list[str]] = {}
    for record in records:
        for entry in [*record.participation, *record.other_exchanges]:
            word = entry["refused"].get(site)
            if word is not None and record.name not in refused.setdefault(word, []):
                refused[word].append(record.name)
    return refused


def _words(refused: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{word} ({', '.join(stages)})" for word, stages in refused.items())


def _report(kept: Mapping[str, Any]) -> PrivacyReport:
    known = {key: value for key, value in kept.items() if key in PrivacyReport.model_fields}
    return PrivacyReport.model_validate(known)
