"""What a site's ledger says, for the site's own people: `braing3n site budget show`."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braing3n.budget import BudgetConfig
from braing3n.plan import STAGE_NAMES
from braing3n.privacy.accountant import epsilon, spent
from braing3n.privacy.ledger_entry import Entry
from client.budget_page import left, up
from client.charging import UNREAD
from client.past import (
    Past,
    in_force,
    look_back,
    other_accounts,
    removed_budget,
    unsigned_change,
)
from client.settings import load_settings
from client.site import Site

_LAST = 5

# Which rule said no, by the fixed word that went out; all words of `braing3n.protocol.REFUSALS`.
RULES: Mapping[str, str] = {
    "policy": "the site's settings do not allow it: a stage, the noise, the sample rate, the unit or "
              "the cohort of the plan, too few subjects, or what is withheld",
    "budget": "it does not fit: the site's epsilon, a cap of stage_epsilon, or the plan's own budget",
    "plan": "nobody here has approved the plan, or it goes beyond `plans:` in the settings",
    "code": "the server sent code with the run, another app, or a version that `plans: app_version:` "
            "does not take",
    "egress": "the reply would hold what `egress:` in the settings does not let out",
    "held": "a person here has not let the reply out",
    "replay": "it was asked for before with other content, or for a round that is over",
    "ledger": "the ledger is damaged, gone, in use, full, or not the one that the coordinator saw",
    "config": "the site's settings are wrong, name data that is not there, or have too large a delta",
    "cohort": "no scan could be used, or the record of who is held out is damaged",
    "scan": "a scan could not be used",
    "protocol": "the message is malformed, or of another version, run or stage",
    "digest": "the weights or the plan are not those that were announced",
    "diverged": "training left the finite numbers",
    "missing_part": "a frozen part of the model did not reach the site",
    "stranger": "the coordinator does not know this site",
    "output": "a file could not be written",
    "error": "something that has no word of its own",
    "internal": "an unforeseen error in the program; please report it",
}


def look_at_ledger(path: Path) -> dict[str, Any]:
    """Return what a site has spent of its budget and what it refused, from its state folder alone.

    Args:
        path: The site's YAML file. The scans that it names need not be there.

    Raises:
        ConfigError: The settings are wrong.
        LedgerError: The ledger or its key is damaged, gone, or not the one that the site's receipts are
            for.
        ProtocolError: A receipt is damaged.
    """
    config = load_settings(path)
    past = look_back(config)
    alarms = [*unsigned_change(config, past, path), *removed_budget(config, past)]
    about = {"site": config.name, "needs_decision": bool(alarms),
             "warnings": [*alarms, *other_accounts(config, past)],
             "log": str(config.state_dir / "site.log"),
             "without_dp": [list(mark) for mark in Site(config).marked_without_dp()]}
    if config.budget is None:
        return {**about, "budget": None}
    return {**about, **_account(config.budget, past), **_refused(past)}


def _account(budget: BudgetConfig, past: Past) -> dict[str, Any]:
    """Return what was spent and what is left of what is in force."""
    events, is_void, counts = past.events, past.without_dp is not None, in_force(budget, past)
    cost, delta = spent(events, counts.delta), counts.delta
    stages = {name: [event for event in events if event.stage == name] for name in STAGE_NAMES}
    runs = {run: [event for event in events if event.run == run]
            for run in dict.fromkeys(event.run for event in events)}
    return {
        "cohort": budget.cohort, "unit": budget.unit,
        "budget": {"epsilon": budget.epsilon, "delta": budget.delta}, "is_void": is_void,
        "in_force": {"epsilon": counts.epsilon, "delta": delta},
        "signed": None if past.signed is None else past.signed._asdict(),
        "spent": {"pld": _number(cost.pld), "rdp": _number(cost.rdp), "prv": cost.prv},
        "left": None if is_void else max(counts.epsilon - cost.pld, 0.0),
        "by_stage": {name: _number(epsilon(own, delta)) for name, own in stages.items() if own},
        "by_run": {run: _number(epsilon(own, delta)) for run, own in runs.items()},
    }


def _refused(past: Past) -> dict[str, Any]:
    """Return how long the ledger is, and what it says of refusals."""
    entries: list[Entry] = [] if past.history is None else past.history.entries
    refused = [entry for entry in entries if entry.kind == "refuse"]
    return {
        "num_entries": len(entries),
        "num_unsettled": 0 if past.history is None else len(past.history.open_reserves()),
        "refused": dict(Counter(str(entry.code) for entry in refused)),
        "num_unread": sum((entry.kind, entry.code) == ("note", UNREAD) for entry in entries),
        "last_refused": [{"time": entry.time, "code": entry.code, "run": entry.run,
                          "stage": entry.stage, "round": (entry.round_index or 0) + 1}
                         for entry in refused[-_LAST:]],
    }


def describe_ledger(told: dict[str, Any]) -> str:
    """Return it for a person."""
    warnings = [f"warning: {warning}" for warning in told["warnings"]]
    if told["budget"] is None:
        runs = [f"  run {run}, stage {stage}" for run, stage in told["without_dp"]]
        return "\n".join(["this site has no budget: it trains without differential privacy",
                          *(["it did so in (without_dp.jsonl):", *runs] if runs else []), *warnings])
    counts = told["in_force"]
    lines = [f"{told['site']}, cohort {told['cohort']}: budget epsilon {counts['epsilon']:g} at delta "
             f"{counts['delta']:g} ({_signature(told)}), for one {told['unit']} with all scans and "
             "visits", *warnings]
    if told["is_void"]:
        lines.append("these patients were also trained on without differential privacy: no epsilon "
                     "says anything about what they risk")
    cost = told["spent"]
    lines.append(f"spent: {_shown(cost['pld'])} (PLD), {_shown(cost['rdp'])} (RDP, never lower)")
    if told["left"] is not None:
        lines.append(f"left:  {left(told['left'])} of {counts['epsilon']:g}")
    if told["num_unsettled"]:
        lines.append(f"{told['num_unsettled']} reserved and not settled, counted in full")
    lines += [f"  {name}: {_shown(cost)} alone" for name, cost in told["by_stage"].items()]
    lines += [f"  run {run}: {_shown(cost)} alone" for run, cost in told["by_run"].items()]
    lines += _refusal_lines(told)
    if told["num_entries"]:
        count = told["num_entries"]
        lines.append("1 signed entry" if count == 1 else f"{count} signed entries, all in order")
    else:
        lines.append("no ledger yet: it begins with the first task")
    return "\n".join(lines)


def _signature(told: dict[str, Any]) -> str:
    """Return whether the hospital has signed what is in force."""
    signed = told["signed"]
    if signed is None:
        return "not signed yet: the first task signs it"
    return "signed" if signed == told["in_force"] else f"{signed['epsilon']:g} is signed"


def _refusal_lines(told: dict[str, Any]) -> list[str]:
    if not told["refused"] and not told["num_unread"]:
        return ["refused: nothing"]
    lines = ["refused, at no cost:"]
    lines += [f"  {code} ({_times(count)}): {RULES.get(code, 'a rule of another version')}"
              for code, count in told["refused"].items()]
    if told["num_unread"]:
        lines.append(f"  a message that is no task ({_times(told['num_unread'])})")
    if told["last_refused"]:
        lines.append("  the last:")
    lines += [f"    {one['time']} {one['code']}: run {one['run']}, {one['stage']} round {one['round']}"
              for one in told["last_refused"]]
    return [*lines, "  the full reason of each stands after `answering with a refusal` in",
            f"  {told['log']}"]


def ledger_json(told: dict[str, Any]) -> str:
    """Return it for a machine."""
    return json.dumps(told)


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count} times"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "beyond any number" if value is None else up(value)
