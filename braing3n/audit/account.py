"""A ledger's ε without its signatures: whoever has the numbers alone can check the sum."""

from pathlib import Path

from braing3n.audit import ledger_rules as rules
from braing3n.audit.ledger_file import read_ledger
from braing3n.audit.recompute import Recomputed, recompute
from braing3n.errors import LedgerError


def accounts_of(path: Path, delta: float | None) -> list[Recomputed]:
    """Rebuild ε of a ledger's cohorts.

    Args:
        path: The ledger.
        delta: δ; None takes what the site claims.

    Raises:
        LedgerError: It cannot be read, or a line lacks something: no ε can be told then.
    """
    seen, torn = read_ledger(path, None)
    wrong = [*torn, *(finding for one in seen for finding in one.findings)]
    if wrong:
        raise LedgerError(f"no epsilon can be told from {path}", expected="entries with all parameters",
                          found=f"{wrong[0].what}" + (f" (and {len(wrong) - 1} more)"
                                                      if len(wrong) > 1 else ""),
                          fix="ask the site for the whole ledger; `braing3n audit verify` says what is "
                              "wrong with this one")
    lines = [(number, one.line) for number, one in enumerate(seen) if one.line is not None]
    void = {str(line.cohort) for _, line in lines if line.is_without_dp}
    return recompute(rules.work_of(lines), void, delta)
