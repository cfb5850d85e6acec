"""Findings as text: what may name a person is hidden, wherever it stands."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from braing3n.data.findings import Finding
from braing3n.data.tree import stem_of
from braing3n.identity.texts import name_words, redact
from braing3n.printable import printable

_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Teller:
    """Tells the findings of one check.

    Attributes:
        folder: What files are given relative to.
        named: Names of files and folders that were found to name a person, perhaps.
        words: The words in them that do, in lower case: a part of such a name may stand elsewhere.
    """

    folder: Path
    named: frozenset[str]
    words: frozenset[str] = frozenset()

    @staticmethod
    def of(folder: Path, findings: Iterable[Finding]) -> "Teller":
        """Return who tells these findings: a folder's name that is hidden once is always hidden."""
        names = {found.path.name for found in findings if found.rule.code == "identity-name"}
        words = frozenset(word for name in names for word in name_words(name))
        return Teller(folder, frozenset(names | {stem_of(name) for name in names} - {""}), words)

    def fields(self, found: Finding) -> dict[str, str]:
        """Return a finding's code, severity, file, expected, found and fix."""
        texts = {"expected": found.expected, "found": found.found, "fix": found.fix}
        return {"code": found.rule.code, "severity": found.rule.severity.value,
                "file": self.name(found.path),
                **{field: self._told(text) for field, text in texts.items()}}

    def title(self) -> str:
        """Return the folder itself, as it was given."""
        return self._told(str(self.folder), is_label=True)

    def name(self, path: Path) -> str:
        """Return a path relative to the folder; where its own name is hidden, which one it is."""
        is_inner = path.is_relative_to(self.folder)
        inner = path.relative_to(self.folder).as_posix() if is_inner else str(path)
        told = self._told(inner, is_label=True)
        return told + _place(path) if "***" in told.rpartition("/")[2] else told

    def _told(self, text: str, *, is_label: bool = False) -> str:
        for name in sorted(self.named, key=len, reverse=True):
            text = text.replace(name, "***")
        text = redact(text, is_label=is_label)
        if self.words:
            text = _WORD.sub(lambda word: "***" if word.group().casefold() in self.words
                             else word.group(), text)
        # Of an id or a name of which a part is hidden, the rest may do the same.
        text = re.sub(r"[^\s,/'\"()]*\*\*\*[^\s,/'\"()]*", "***", text)
        return printable(text)


def _place(path: Path) -> str:
    """Return which one a hidden name is, by the order of names in its folder."""
    try:
        names = sorted(other.name for other in path.parent.iterdir())
        return f" (number {names.index(path.name) + 1} of {len(names)} by name)"
    except (OSError, ValueError):
        return ""
