"""A check's outcome for a terminal, for a program, and the list of all rules for the docs."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from braing3n.data.findings import RULES, Finding, Severity
from braing3n.preflight.outcome import Preflight
from braing3n.preflight.telling import Teller

SCHEMA = 1
_FIRST = 3
# What `site scrub` takes out by itself.
_SCRUBBED = {"identity-header", "identity-extension", "identity-sidecar", "identity-table",
             "identity-text", "age-over-89", "dicom-left"}
_COLOURS = {Severity.ERROR: "red", Severity.PRIVACY: "magenta", Severity.WARN: "yellow",
            Severity.INFO: "cyan"}


def as_json(preflight: Preflight) -> str:
    """Return one JSON object: the fields of every finding, and what was looked at."""
    teller = Teller.of(preflight.folder, preflight.findings)
    return json.dumps({
        "schema": SCHEMA,
        "folder": teller.title(),
        "num_files": preflight.num_files,
        "num_volumes": len(preflight.volumes),
        "findings": [teller.fields(found) for found in preflight.findings],
    }, indent=1)


def print_outcome(preflight: Preflight, console: Console) -> None:
    """Print a table of what was found, the first findings of each kind, and the verdict."""
    groups = [(rule, list(items)) for rule, items in _by_rule(preflight)]
    teller = Teller.of(preflight.folder, preflight.findings)
    if groups:
        table = Table("severity", "code", "count", "what", title=escape(teller.title()),
                      title_justify="left")
        for rule, items in groups:
            table.add_row(_coloured(rule.severity), rule.code, str(len(items)), escape(rule.defect))
        console.print(table)
    for rule, items in groups:
        if rule.severity is Severity.INFO:
            continue
        console.print(f"\n{_coloured(rule.severity)} [bold]{rule.code}[/bold]: {escape(rule.defect)}")
        for found in items[:_FIRST]:
            fields = teller.fields(found)
            console.print(escape(f"  {fields['file']}\n    expected: {fields['expected']}\n    found:"
                                 f"    {fields['found']}\n    to do:    {fields['fix']}"),
                          soft_wrap=True, highlight=False)
        if len(items) > _FIRST:
            console.print(f"  and {len(items) - _FIRST} more: see --json or --html")
    if any(rule.severity is Severity.INFO for rule, _ in groups):
        console.print("\nINFO is no reason to stop; --json and --html tell it in full")
    for line in ("", *preflight.known, *next_steps(preflight), verdict(preflight)):
        console.print(escape(line), highlight=False, soft_wrap=True)


def next_steps(preflight: Preflight) -> list[str]:
    """Return what to do in which order, where something has to be done."""
    severities = {found.rule.severity for found in preflight.findings}
    codes = {found.rule.code for found in preflight.findings}
    steps = []
    if Severity.ERROR in severities:
        steps.append("mend what is an ERROR, here and not in a cleaned copy of it")
    if codes & _SCRUBBED:
        steps.append("run `braing3n site scrub FOLDER --out COPY`, COPY being a new folder, and name "
                     "COPY in `data:` of the site's settings")
    if Severity.PRIVACY in severities and not codes & _SCRUBBED:
        steps.append("do what is said of each PRIVACY finding")
    if steps:
        steps.append("check again")
    return [f"next: {', then '.join(steps)}"] if steps else []


def verdict(preflight: Preflight) -> str:
    """Return one sentence that says whether the folder can be used."""
    counts = Counter(found.rule.severity for found in preflight.findings)
    usable = sum(volume.facts is not None for volume in preflight.volumes)
    what = (f"{_count(preflight.num_files, 'file')}, {_count(len(preflight.volumes), 'scan')}, of "
            f"which {usable} can be used; {_count(counts[Severity.ERROR], 'error')}, "
            f"{_count(counts[Severity.PRIVACY], 'privacy finding')}, "
            f"{_count(counts[Severity.WARN], 'warning')}")
    if preflight.holds:
        return f"ready: {what}"
    return f"not ready: {what}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def rules_table() -> str:
    """Return every rule as a Markdown table, the worst first."""
    rows = sorted(RULES.values(), key=lambda rule: list(Severity).index(rule.severity))
    lines = ["| what is wrong | code | severity | what is expected | what to do |",
             "|---|---|---|---|---|"]
    lines += [f"| {rule.defect} | `{rule.code}` | {rule.severity} | {rule.expected} | {rule.fix} |"
              for rule in rows]
    return "\n".join(lines) + "\n"


def _by_rule(preflight: Preflight) -> Iterator[tuple[Any, Iterator[Finding]]]:
    return groupby(preflight.findings, key=lambda found: found.rule)


def _coloured(severity: Severity) -> str:
    return f"[{_COLOURS[severity]}]{severity.value}[/]"
