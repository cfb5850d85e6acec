"""What sites said of their privacy, as it stands in run.json and in words; sites' ledgers prove it."""

from collections.abc import Mapping, Sequence
from typing import Any

from braing3n.privacy_messages import PrivacyReport
from server.outcome import StageRecord

NO_PRIVACY = ("no differential privacy and no secure aggregation: the coordinator sees each site's "
              "update, and the sums that it gives for probes; these and the finished models can "
              "reveal training data")
NOTHING_GIVEN = "nothing of this site is in any result"
WHY_VOID = {
    "without_dp": "no ε can be given: the same patients were also trained on without differential "
                  "privacy, on which the later work builds",
    "beyond": "no ε can be given: what was spent is beyond what accountants put into a number",
}


def statement_of(report: PrivacyReport | None) -> str:
    """Return in words what one site's patients are promised."""
    if report is None:
        return "no differential privacy; updates can reveal training data"
    if report.void is not None:
        return WHY_VOID[report.void]
    if report.epsilon_total is None:
        return "nothing was released yet"
    return (f"({report.epsilon_total:.3g}, {report.delta:g})-differential privacy for one patient of "
            "this site, over all that this site has released for this cohort")


def account_of(records: Sequence[StageRecord], sites: Sequence[str]) -> dict[str, Any]:
    """Return for each site its statement, and for each stage what it reported last."""
    answered = {site for record in records
                for entry in [*record.participation, *record.other_exchanges]
                for site in entry["answered"]}
    account: dict[str, Any] = {}
    for site in sites:
        reports = {record.name: record.privacy[site] for record in records if site in record.privacy}
        statement = (statement_of(_report(list(reports.values())[-1])) if reports else
                     statement_of(None) if site in answered else NOTHING_GIVEN)
        account[site] = {"statement": statement, "stages": reports}
    return account


def summary_of(account: Mapping[str, Any]) -> str:
    """Return in a sentence or two what the run promises, and at which sites it promises nothing."""
    with_dp = [site for site, told in account.items() if told["stages"]]
    if not with_dp:
        return NO_PRIVACY
    without = [site for site, told in account.items()
               if not told["stages"] and told["statement"] != NOTHING_GIVEN]
    lacking = (f" No differential privacy at {', '.join(without)}: their updates can reveal training "
               "data." if without else "")
    statements = "; ".join(f"{site}: {account[site]['statement']}" for site in with_dp)
    return (f"{statements}.{lacking} No secure aggregation: the coordinator sees each site's "
            "update.")


def _report(kept: Mapping[str, Any]) -> PrivacyReport:
    known = {key: value for key, value in kept.items() if key in PrivacyReport.model_fields}
    return PrivacyReport.model_validate(known)
