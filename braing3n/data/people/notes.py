"""Notes for a site's own log."""

from collections.abc import Iterable


def listed(what: str, names: Iterable[str]) -> list[str]:
    """Return one note that counts and names, or none where there is nothing to tell."""
    ordered = sorted(names)
    more = ", ..." if len(ordered) > 8 else ""
    return [f"{what} ({len(ordered)}): {', '.join(ordered[:8])}{more}"] if ordered else []
