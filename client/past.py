"""What a site's state folder says of its past, held to the receipts that it has kept."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import isinf
from pathlib import Path

from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig
from braing3n.errors import LedgerError, PolicyError
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.events import Event
from braing3n.privacy.ledger_history import Decided, History
from braing3n.privacy.policy import check_decided
from braing3n.receipts import check_receipt
from client.budget_page import up
from client.own_ledger import own_history
from client.receipts import hold, kept_receipts
from client.site import Site


@dataclass(frozen=True)
class OtherCohort:
    """An account that the ledger has under another cohort name than the site's settings give.

    Attributes:
        name: That name.
        epsilon: What was spent on it; infinite where that is beyond any number.
        delta: At which that was stated last.
        is_void: Whether it was also trained on without differential privacy.
        signed: What may be spent on it; None where nobody has decided.
    """

    name: str
    epsilon: float
    delta: float
    is_void: bool
    signed: Decided | None

    def __str__(self) -> str:
        """Say what the ledger has."""
        if self.epsilon or self.is_void:
            cost = "beyond any number" if isinf(self.epsilon) else up(self.epsilon)
            return (f"an epsilon of {cost} at delta {self.delta:g}"
                    + (" and training without differential privacy" if self.is_void else ""))
        if self.signed is not None:
            return (f"a signed epsilon of {self.signed.epsilon:g} at delta {self.signed.delta:g}, and "
                    "nothing spent,")
        return "refusals alone"


@dataclass(frozen=True)
class Past:
    """What a site has done before; by default nothing.

    Attributes:
        events: What was spent on the cohort of its budget.
        without_dp: Why no ε holds for that cohort, in words; None where one does.
        others: The accounts of other cohorts; all where the site has no budget.
        history: The whole ledger; None where none was begun.
        signed: What the hospital has decided last for that cohort; None before the first decision.
    """

    events: tuple[Event, ...] = ()
    without_dp: str | None = None
    others: tuple[OtherCohort, ...] = ()
    history: History | None = None
    signed: Decided | None = None


def look_back(config: SiteConfig) -> Past:
    """Read a site's past; nothing is written, also while training goes on.

    Args:
        config: As `client.settings.load_settings` or `load_site_config` returns it.

    Raises:
        LedgerError: The ledger or its key is damaged, gone, or not the one that the site's receipts
            are for.
        ConfigError: The ledger's key is unusable, or another one's.
        ProtocolError: A receipt is damaged.
    """
    history = _held_history(config)
    cohort = None if config.budget is None else config.budget.cohort
    void = None
    if history is not None and cohort is not None and history.without_dp(cohort):
        void = "the ledger says that these patients were trained on without differential privacy before"
    elif Site(config).marked_without_dp():
        void = ("without_dp.jsonl says that this site was trained on without differential privacy, "
                "before it had a budget")
    if history is None:
        return Past(without_dp=void)
    others = tuple(_others(history, cohort))
    if cohort is None:
        return Past(without_dp=void, others=others, history=history)
    return Past(tuple(history.events(cohort)), void, others, history, history.limit(cohort))


def _others(history: History, cohort: str | None) -> Iterator[OtherCohort]:
    """Yield the accounts of all cohorts but one: of every name that any entry has."""
    accounts: dict[str, float] = {}  # with the last δ of each
    for entry in history.entries:
        if entry.cohort is not None and entry.cohort != cohort:
            delta = accounts.get(entry.cohort, BudgetConfig.model_fields["delta"].default)
            accounts[entry.cohort] = delta if entry.spent is None else entry.spent.delta
    for name, delta in accounts.items():
        yield OtherCohort(name, epsilon(history.events(name), delta), delta,
                          bool(history.without_dp(name)), history.limit(name))


def other_accounts(config: SiteConfig, past: Past) -> list[str]:
    """Return what to warn of where the ledger has accounts under other names than the budget's."""
    if config.budget is None:
        return []
    return [
        f"the ledger holds {other} under another cohort name, {other.name}, than the settings now give "
        f"(cohort: {config.budget.cohort}). If these are the same patients, the name must stay: write "
        f"`cohort: {other.name}` again, as what was spent on them counts for good"
        for other in past.others]


def removed_budget(config: SiteConfig, past: Past) -> list[str]:
    """Return what to warn of where the settings have no budget any more, and the ledger has."""
    kept = [] if config.budget is not None else [
        f"{other} for cohort {other.name}" for other in past.others
        if (other.epsilon or other.signed is not None) and not other.is_void]
    if not kept:
        return []
    return [f"the settings have no `budget:`, and the ledger holds {' and '.join(kept)}: training now "
            "would be without differential privacy, and void that for good. To keep it, write "
            "`budget:` back"]


def unsigned_change(config: SiteConfig, past: Past, path: Path) -> list[str]:
    """Return what is wrong where the settings allow more than was signed; as its node would.

    Args:
        config: The settings.
        past: What was signed.
        path: The settings' file.
    """
    error = None if config.budget is None else _unsigned(config.budget, past)
    if error is None:
        return []
    return [f"{error.what}: {error.found} instead of {error.expected}; everything is refused "
            f"(`policy`) until `braing3n site budget sign {path}`"]


def in_force(budget: BudgetConfig, past: Past) -> BudgetConfig:
    """Return the budget that counts: of settings that allow more than was signed, what was signed."""
    if past.signed is None or _unsigned(budget, past) is None:
        return budget
    return budget.model_copy(update=past.signed._asdict())


def _unsigned(budget: BudgetConfig, past: Past) -> PolicyError | None:
    try:
        if past.signed is not None:
            check_decided(budget, past.signed)
    except PolicyError as error:
        return error
    return None


def _held_history(config: SiteConfig) -> History | None:
    """Return the site's ledger, verified and held to its kept receipts; None where none was begun."""
    folder = config.state_dir
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        raise LedgerError(f"{folder} cannot be read", expected="the site's state folder",
                          found="one that this user may not look into",
                          fix="run this as the user that the site's node runs as")
    site = Site(config)
    history = own_history(site)
    if history is not None:
        for receipt in kept_receipts(site):
            if receipt.site == config.name:
                check_receipt(receipt)
                hold(receipt, history)
    return history
