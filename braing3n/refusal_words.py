"""What each word about a failure says to a person; docs/privacy-budget.md has them at length."""

from collections.abc import Iterable, Mapping

MEANINGS: Mapping[str, str] = {
    "budget": "it does not fit the site's privacy budget, or the plan's",
    "code": "the site does not take the bundle that the server sent",
    "cohort": "the site has no scans that can be used, or too few patients",
    "config": "a mistake in the site's settings or data, or in the plan",
    "digest": "a frozen part is not the one that was announced",
    "diverged": "training came to numbers that are not finite",
    "egress": "the reply holds what the site's `egress:` settings do not let out",
    "error": "something else; the site's log has it",
    "held": "a person at the site did not let the reply out, or not in time",
    "internal": "a fault of the program; the site's log has it",
    "late": "no answer came in time",
    "ledger": "the site's ledger is damaged, gone, or not the one that was shown before",
    "missing_part": "the site lacks a frozen part, even after it was sent",
    "name_taken": "two sites have this name",
    "outlier": "the update was left out as an outlier",
    "output": "a file cannot be written there, or is damaged",
    "plan": "nobody there approved the plan (`braing3n site approve`), or it goes beyond the limits",
    "policy": "the site's settings do not allow it",
    "protocol": "a message that is malformed, or does not belong here",
    "replay": "it, or a later round, was released already",
    "revoked": "the site was shut out",
    "scan": "a scan changed during the run, or none can be used",
    "stranger": "the site runs other software",
    "unreachable": "no connection to the site",
}


def explained(words: Iterable[str]) -> list[str]:
    """Return a line for each of the words, once: `plan: the site has not approved ...`."""
    return [f"{word}: {MEANINGS[word]}" for word in sorted(set(words)) if word in MEANINGS]
