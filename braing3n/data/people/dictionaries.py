"""What a table's dictionary, or a column's own name, says that its codes mean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braing3n.data.people.names import code_of, column_name
from braing3n.data.sidecar import read_sidecar

_MAX_EXPLANATION = 1000
_LABEL = r"([^\W\d_][^,;()\[\]=:]*?)"
_CODE_FIRST = re.compile(
    rf"(?<![\w.])(-?[0-9]+)\s*[=:\-]\s*{_LABEL}(?=\s*(?:[,;/|)\]]|$|-?[0-9]+\s*[=:\-]))")
_LABEL_FIRST = re.compile(rf"(?<!\w){_LABEL}\s*[=:]\s*(-?[0-9]+)(?![\w.])")


@dataclass(frozen=True)
class Described:
    """What a dictionary says of one column.

    Attributes:
        levels: What its codes mean, by `names.code_of`.
        units: The unit of its numbers, in lower case; empty where it says none.
    """

    levels: Mapping[str, str]
    units: str = ""


def read_dictionary(table: Path) -> tuple[dict[str, Described], str | None]:
    """Read the JSON files that describe a table's columns, as BIDS places them.

    Returns:
        What they say, by `tables.column_name`; and what is wrong with one of them, or None.
    """
    paths = [table.with_suffix(".json")]
    if table.name.endswith("_sessions.tsv"):
        paths.insert(0, table.parent.parent / "sessions.json")
    found, damage = dict[str, Described](), None
    for path in (path for path in paths if path.exists()):
        sidecar = read_sidecar(path)
        damage = f"{path.name}: {sidecar.damage}" if sidecar.damage else damage
        found |= {column_name(name): _described(said) for name, said in sidecar.content.items()
                  if isinstance(said, dict)}
    return found, damage


def explained(text: str) -> dict[str, str]:
    """Return the meanings in a text such as `(1=m, 2=f)` or `male: 1, female: 2`, by code.

    One pair alone may be a remark about something else, and a code with two meanings has none.
    """
    text = text[:_MAX_EXPLANATION]
    pairs = _CODE_FIRST.findall(text) or [(code, label) for label, code in _LABEL_FIRST.findall(text)]
    meanings: dict[str, set[str]] = {}
    for code, label in pairs:
        meanings.setdefault(code, set()).add(label.strip())
    return {code: labels.pop() for code, labels in meanings.items()
            if len(labels) == 1} if len(meanings) > 1 else {}


def _described(said: Mapping[str, Any]) -> Described:
    levels = explained(" ".join(str(said.get(key, "")) for key in ("LongName", "Description")))
    given = said.get("Levels")
    for code, level in given.items() if isinstance(given, dict) else ():
        text = level.get("Description") if isinstance(level, dict) else level
        if isinstance(text, str) and text.strip():
            levels[code_of(code)] = text
    return Described(levels, str(said.get("Units", "")).strip().casefold())
