"""A check's outcome for a terminal, for a program, and the list of all rules for the docs."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from braing3n.data.findings import RULES, Finding, Severity
from braing3n.preflight.folder import Preflight
from braing3n.preflight.identity import redact

SCHEMA = 1
_FIRST = 3
_COLOURS = {Severity.ERROR: "red", Severity.PRIVACY: "magenta", Severity.WARN: "yellow",
            Severity.INFO: "cyan"}


def as_json(preflight: Preflight) -> str:
    """Return one JSON object: the fields of every finding, and what was looked at."""
    return json.dumps({
        "schema": SCHEMA,
        "folder": str(preflight.folder),
        "num_files": preflight.num_files,
        "num_volumes": len(preflight.volumes),
        "findings": [shown(found, preflight.folder) for found in preflight.findings],
    }, indent=1, ensure_ascii=False)


def shown(found: Finding, folder: Path) -> dict[str, str]:
    """Return a finding's fields as text; what may name a person is replaced by ***."""
    path = found.path
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
    texts = {"expected": found.expected, "found": found.found, "fix": found.fix}
    return {"code": found.rule.code, "severity": found.rule.severity.value,
            "file": _printable(redact(name, is_label=True)),
            **{field: _printable(redact(text)) for field, text in texts.items()}}


def _printable(text: str) -> str:
    """Return text that every stream takes: names of files need not be valid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def print_outcome(preflight: Preflight, console: Console) -> None:
    """Print a table of what was found, the first findings of each kind, and the verdict."""
    groups = [(rule, list(items)) for rule, items in _by_rule(preflight)]
    if groups:
        table = Table("severity", "code", "count", "what", title=f"{preflight.folder}",
                      title_justify="left")
        for rule, items in groups:
            table.add_row(_coloured(rule.severity), rule.code, str(len(items)), escape(rule.defect))
        console.print(table)
    for rule, items in groups:
        if rule.severity is Severity.INFO:
            continue
        console.print(f"\n{_coloured(rule.severity)} [bold]{rule.code}[/bold]: {escape(rule.defect)}")
        for found in items[:_FIRST]:
            fields = shown(found, preflight.folder)
            console.print(escape(f"  {fields['file']}\n    expected: {fields['expected']}\n    found:"
                                 f"    {fields['found']}\n    to do:    {fields['fix']}"),
                          soft_wrap=True, highlight=False)
        if len(items) > _FIRST:
            console.print(f"  and {len(items) - _FIRST} more: see --json or --html")
    console.print(f"\n{verdict(preflight)}", highlight=False, soft_wrap=True)


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
