"""A site's own ledger, by one rule: where something shows that there was one, no other is begun."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from braing3n.privacy.ledger import FILE_NAME, Ledger, load_own_history, open_ledger
from braing3n.privacy.ledger_history import History
from client import outbox, receipts
from client.site import Site


@contextmanager
def own_ledger(site: Site) -> Iterator[Ledger]:
    """Open the site's ledger for writing, and begin one where the site never had any.

    Raises:
        LedgerError: It is damaged, gone or in use, or cannot be written.
        ConfigError: Its key is unusable.
    """
    with open_ledger(site.config.state_dir, trace=_trace(site)) as ledger:
        yield ledger


def own_history(site: Site) -> History | None:
    """Return the site's ledger as it is, verified; None where the site never had any.

    Raises:
        LedgerError: It is damaged or gone, or its key is.
        ConfigError: Its key is unusable.
    """
    return load_own_history(site.config.state_dir, trace=_trace(site))


def _trace(site: Site) -> Path | None:
    """Return what the site has of a ledger that is not there; None where there is a ledger."""
    state_dir = site.config.state_dir
    ledger = state_dir / FILE_NAME
    if ledger.exists() and ledger.stat().st_size:
        return None
    if any(receipt.site == site.config.name for receipt in receipts.kept_receipts(site)):
        return state_dir / receipts.FILE_NAME
    return outbox.trace(state_dir)
