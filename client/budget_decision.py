"""What a hospital should know before it signs a budget."""

from braing3n.audit.report.words import chance, sure, times
from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.ledger_history import Decided
from client.budget_page import left, up
from client.past import Past, other_accounts
from client.subjects import Counted

_LARGE = 0.1  # of δ times the number of patients; above 1 it promises nothing


def decision_lines(past: Past, wanted: Decided) -> list[str]:
    """Return what was signed, what is to be signed, what that leaves and what it means."""
    return [f"  signed last: {'nothing' if past.signed is None else limit_text(past.signed)}",
            f"  to sign:     {limit_text(wanted)}",
            f"  {_spent(past, wanted)}"]


def warning_lines(config: SiteConfig, budget: BudgetConfig, past: Past, counted: Counted) -> list[str]:
    """Return what else the site would refuse or the hospital should look into."""
    return [f"warning: {warning}" for warning in
            (*other_accounts(config, past), *_about_patients(budget, counted))]


def limit_text(limit: Decided) -> str:
    """Return a limit in words."""
    return f"an epsilon of {limit.epsilon:g} at delta {limit.delta:g}"


def _spent(past: Past, wanted: Decided) -> str:
    """Return what was spent at the δ that is to be signed, what is left, and what the ε promises."""
    if past.without_dp is not None:
        return f"no epsilon holds: {past.without_dp}"
    cost, certainty = epsilon(past.events, wanted.delta), sure(wanted.epsilon)
    rest = f"left: {left(wanted.epsilon - cost)}"
    if cost > wanted.epsilon:
        rest = f"over by {up(cost - wanted.epsilon)}: what costs something is refused (`budget`)"
    surely = f"at most {certainty} sure" if "%" in certainty else certainty
    return (f"spent: {up(cost)}, {rest}\n  means: a result at most {times(wanted.epsilon)} times as "
            f"likely with a patient as without, but for a chance of {chance(wanted.delta)}; even odds "
            f"become {surely}")


def _about_patients(budget: BudgetConfig, counted: Counted) -> list[str]:
    number = counted.number
    if number is None:
        return [f"the patients to train on could not be counted: {counted.why}"]
    said = []
    if number < budget.min_subjects:
        said.append(f"{number} patients to train on, fewer than min_subjects ({budget.min_subjects}): "
                    "training is refused (`policy`)")
    if budget.delta * number >= _LARGE:
        refused = "; above it everything is refused (`config`)" if budget.delta * number > 1 else ""
        said.append(f"delta {budget.delta:g} with {number} patients to train on: choose well below 1 "
                    f"over their number, such as 1e-5{refused}")
    return said
