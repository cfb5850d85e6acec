"""What a site's state folder says of its past, held to the receipts that it has kept."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import isinf

from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig
from braing3n.errors import LedgerError, PolicyError
from braing3n.privacy.accountant import epsilon
from braing3n.privacy.events import Event
from braing3n.privacy.ledger import FILE_NAME, KEY_NAME, PUBLIC_NAME, load_history
from braing3n.privacy.ledger_history import History
from braing3n.privacy.policy import check_decided
from braing3n.receipts import check_receipt
from client.budget_page import up
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
    """

    name: str
    epsilon: float
    delta: float
    is_void: bool


@dataclass(frozen=True)
class Past:
    """What a site has done before.

    Attributes:
        events: What was spent on the cohort of its budget.
        without_dp: Why no ε holds for that cohort, in words; None where one does.
        others: The accounts of other cohorts.
        history: The whole ledger; None where none was begun.
    """

    events: tuple[Event, ...]
    without_dp: str | None
    others: tuple[OtherCohort, ...]
    history: History | None


def look_back(config: SiteConfig) -> Past:
    """Read a site's past; nothing is written, also while training goes on.

    Args:
        config: As `client.settings.load_settings` or `load_site_config` returns it.

    Raises:
        LedgerError: The ledger is damaged, gone, or not the one that the site's receipts are for.
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
        return Past((), void, (), None)
    return Past(() if cohort is None else tuple(history.events(cohort)), void,
                tuple(_others(history, cohort)), history)


def _others(history: History, cohort: str | None) -> Iterator[OtherCohort]:
    """Yield the accounts of all cohorts but one; where nothing was spent there is none."""
    accounts: dict[str, float] = {}  # with the last δ of each
    for entry in history.entries:
        if entry.cohort is not None and entry.cohort != cohort:
            delta = accounts.get(entry.cohort, BudgetConfig.model_fields["delta"].default)
            accounts[entry.cohort] = delta if entry.spent is None else entry.spent.delta
    for name, delta in accounts.items():
        events, is_void = history.events(name), bool(history.without_dp(name))
        if events or is_void:
            yield OtherCohort(name, epsilon(events, delta), delta, is_void)


def other_accounts(config: SiteConfig, past: Past) -> list[str]:
    """Return what to warn of where the ledger has accounts under other cohort names."""
    now = "no budget" if config.budget is None else f"cohort: {config.budget.cohort}"
    return [
        f"the ledger holds {_account(other)} under another cohort name, {other.name}, than the "
        f"settings now give ({now}). If these are the same patients, the name must stay: write "
        f"`cohort: {other.name}` again, as what was spent on them counts for good"
        for other in past.others]


def unsigned_change(config: SiteConfig, past: Past) -> list[str]:
    """Return what is wrong where the settings allow more than was signed; as its node would."""
    budget = config.budget
    signed = None if past.history is None or budget is None else past.history.limit(budget.cohort)
    if budget is None or signed is None:
        return []
    try:
        check_decided(budget, signed)
    except PolicyError as error:
        return [f"{error.what}: {error.found} instead of {error.expected}"]
    return []


def _account(other: OtherCohort) -> str:
    cost = "beyond any number" if isinf(other.epsilon) else up(other.epsilon)
    return (f"an epsilon of {cost} at delta {other.delta:g}"
            + (" and training without differential privacy" if other.is_void else ""))


def _held_history(config: SiteConfig) -> History | None:
    """Return the site's ledger, verified and held to its kept receipts; None where none was begun."""
    folder = config.state_dir
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        raise LedgerError(f"{folder} cannot be read", expected="the site's state folder",
                          found="one that this user may not look into",
                          fix="run this as the user that the site's node runs as")
    receipts = [receipt for receipt in kept_receipts(Site(config)) if receipt.site == config.name]
    if not (folder / FILE_NAME).exists():
        if receipts or any((folder / name).exists() for name in (KEY_NAME, PUBLIC_NAME)):
            raise LedgerError(f"{folder / FILE_NAME} is gone", expected="the ledger of what this site "
                              "has spent, as it has been in use", found="nothing",
                              fix="restore the newest copy; this site trains no more without it")
        return None
    history = load_history(folder)
    for receipt in receipts:
        check_receipt(receipt)
        hold(receipt, history)
    return history
