"""What a site's ledger says, for the site's own people: `braing3n site budget show`."""

import json
from collections import Counter
from math import isfinite
from pathlib import Path
from typing import Any

from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig, load_site_config
from braing3n.errors import ConfigError, LedgerError
from braing3n.plan import STAGE_NAMES
from braing3n.privacy.accountant import epsilon, spent
from braing3n.privacy.ledger import FILE_NAME, KEY_NAME, load_history
from braing3n.privacy.ledger_history import History
from braing3n.receipts import check_receipt
from client.receipts import hold, kept_receipts
from client.site import Site

_LAST = 5


def look_at_ledger(path: Path) -> dict[str, Any]:
    """Return what a site has spent of its budget and what it refused, from its ledger alone.

    Args:
        path: The site's YAML file.

    Raises:
        ConfigError: The settings are wrong, or have no budget.
        LedgerError: The ledger is damaged, gone, or not the one that the site's receipts are for.
        ProtocolError: A receipt is damaged.
    """
    config = load_site_config(path)
    if config.budget is None:
        raise ConfigError(f"{path} has no budget", expected="`budget:` with epsilon and delta",
                          found="none", fix="this site trains without differential privacy; see "
                          "site_configs/example.yaml for what a budget looks like")
    site = Site(config)
    receipts = [receipt for receipt in kept_receipts(site) if receipt.site == config.name]
    if not (config.state_dir / FILE_NAME).exists():
        if receipts or (config.state_dir / KEY_NAME).exists():
            raise LedgerError(f"{config.state_dir / FILE_NAME} is gone", expected="the ledger of what "
                              "this site has spent, as it has been in use", found="nothing",
                              fix="restore the newest copy; this site trains no more without it")
        return _summary(config, config.budget, None)
    history = load_history(config.state_dir)
    for receipt in receipts:
        check_receipt(receipt)
        hold(receipt, history)
    return _summary(config, config.budget, history)


def _summary(config: SiteConfig, budget: BudgetConfig, history: History | None) -> dict[str, Any]:
    events = [] if history is None else history.events(budget.cohort)
    cost = spent(events, budget.delta)
    entries = [] if history is None else history.entries
    stages = {name: [event for event in events if event.stage == name] for name in STAGE_NAMES}
    runs = list(dict.fromkeys(event.run for event in events))
    refused = [entry for entry in entries if entry.kind == "refuse"]
    return {
        "site": config.name, "cohort": budget.cohort, "unit": budget.unit,
        "budget": {"epsilon": budget.epsilon, "delta": budget.delta},
        "is_void": bool(Site(config).marked_without_dp()
                        or (history is not None and history.without_dp(budget.cohort))),
        "spent": {"pld": _number(cost.pld), "rdp": _number(cost.rdp), "prv": cost.prv},
        "left": _number(max(budget.epsilon - cost.pld, 0.0)),
        "by_stage": {name: _number(epsilon(own, budget.delta)) for name, own in stages.items() if own},
        "by_run": {run: _number(epsilon([e for e in events if e.run == run], budget.delta))
                   for run in runs},
        "num_entries": len(entries),
        "num_unsettled": 0 if history is None else len(history.open_reserves()),
        "refused": dict(Counter(str(entry.code) for entry in refused)),
        "last_refused": [{"time": entry.time, "code": entry.code, "run": entry.run,
                          "stage": entry.stage, "round": (entry.round_index or 0) + 1}
                         for entry in refused[-_LAST:]],
    }


def describe_ledger(told: dict[str, Any]) -> str:
    """Return it for a person."""
    budget = told["budget"]
    lines = [f"{told['site']}, cohort {told['cohort']}: budget epsilon {budget['epsilon']:g} at delta "
             f"{budget['delta']:g}, for one {told['unit']} with all scans and visits"]
    if told["is_void"]:
        lines.append("these patients were also trained on without differential privacy: no epsilon "
                     "says anything about what they risk")
    lines.append(f"spent: {_shown(told['spent']['pld'])} (PLD), {_shown(told['spent']['rdp'])} (RDP, "
                 f"never lower); {told['num_unsettled']} reserved and not settled, counted in full")
    lines += [f"  {name}: {_shown(cost)} alone" for name, cost in told["by_stage"].items()]
    lines += [f"  run {run}: {_shown(cost)} alone" for run, cost in told["by_run"].items()]
    if told["refused"]:
        lines.append("refused: " + ", ".join(f"{code} {count} times"
                                             for code, count in told["refused"].items()))
        lines += [f"  {one['time']} {one['code']}: run {one['run']}, {one['stage']} round "
                  f"{one['round']}" for one in told["last_refused"]]
    lines.append(f"{told['num_entries']} signed entries, all in order")
    return "\n".join(lines)


def ledger_json(told: dict[str, Any]) -> str:
    """Return it for a machine."""
    return json.dumps(told)


def _number(value: float) -> float | None:
    return value if isfinite(value) else None


def _shown(value: float | None) -> str:
    return "beyond any number" if value is None else f"{value:.4g}"
