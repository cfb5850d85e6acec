"""What a check says of a file: by which rule, what was expected, what was found, what to do."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from braing3n.data.catalogue import ROWS
from braing3n.errors import CohortError, ScanError


class Severity(StrEnum):
    """How bad a finding is, the worst first."""

    ERROR = "ERROR"      # the scan is left out, or the cohort cannot be used
    PRIVACY = "PRIVACY"  # something that may name a person; to be cleaned before anything else
    WARN = "WARN"        # used as it is; somebody should look
    INFO = "INFO"        # odd but understood: handled, and told


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        code: Its name, which stays the same between versions.
        severity: How bad it is.
        defect: What is wrong, for a person.
        expected: What would be right.
        fix: What to do about it.
    """

    code: str
    severity: Severity
    defect: str
    expected: str
    fix: str


@dataclass(frozen=True)
class Finding:
    """One rule that a file or a folder breaks.

    Attributes:
        rule: Which.
        path: The file or folder.
        found: What is there instead. Never a value that may name a person.
        expected: As the rule says, or more exactly.
        fix: The same.
    """

    rule: Rule
    path: Path
    found: str
    expected: str
    fix: str


class RefusedScanError(ScanError):
    """A scan breaks a rule of severity ERROR.

    Attributes:
        finding: Which rule, and how.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.path} is refused: {finding.rule.defect}",
                         expected=finding.expected, found=finding.found, fix=finding.fix)
        self.finding = finding


class RefusedTableError(CohortError):
    """A table breaks a rule of severity ERROR.

    Attributes:
        finding: Which rule, and how.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.path} is refused: {finding.rule.defect}",
                         expected=finding.expected, found=finding.found, fix=finding.fix)
        self.finding = finding


RULES = {code: Rule(code, Severity(severity), *words) for code, severity, *words in ROWS}


def finding(code: str, path: Path, found: str, *, expected: str | None = None,
            fix: str | None = None) -> Finding:
    """Return what a rule has to say of `path`.

    Args:
        code: The rule's.
        path: The file or folder.
        found: What is there instead; never a value that may name a person.
        expected: In place of the rule's own words.
        fix: The same.

    Raises:
        KeyError: There is no such rule.
    """
    rule = RULES[code]
    return Finding(rule, path, found, rule.expected if expected is None else expected,
                   rule.fix if fix is None else fix)


def refusal(code: str, path: Path, found: str, *, expected: str | None = None,
            fix: str | None = None) -> RefusedScanError:
    """Return the error that says the same as `finding`."""
    return RefusedScanError(finding(code, path, found, expected=expected, fix=fix))
