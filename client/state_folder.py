"""A site's own folder: cache, log, pictures, models. Nobody else may look into it."""

import os
from pathlib import Path

from braing3n.config import SiteConfig
from braing3n.errors import ConfigError
from braing3n.secret_files import OTHERS

_OWN = {"approved.jsonl", "cache", "data_remarks.sha256", "egress.jsonl", "egress.key", "egress.lock",
        "egress.pub", "frozen", "held", "ledger.jsonl", "ledger.key", "ledger.lock", "ledger.pub",
        "moments", "network", "noised_count.json", "outbox", "pictures.npz", "plans", "probes",
        "progress.json", "receipts.jsonl", "round_records.jsonl", "site.log", "split.json",
        "split.lock", "without_dp.jsonl"}


def check_state_folder(config: SiteConfig) -> None:
    """Look whether the state folder is, or can be made, a folder for its owner alone.

    Raises:
        ConfigError: It cannot be written to, or it holds other files and others may enter it.
    """
    folder = config.state_dir
    above = next(place for place in (folder, *folder.parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.R_OK | os.W_OK | os.X_OK):
        why = "may not be written to" if above.is_dir() else "is no folder"
        raise ConfigError("`state_dir:` cannot be used", expected="a folder that can be written to",
                          found=f"{above}, which {why}", fix="correct `state_dir:`, or its permissions")
    mode = above.stat().st_mode & 0o777
    if above == folder and mode & OTHERS and _others_in(folder):
        raise ConfigError("`state_dir:` is open to others, and holds other files",
                          expected="a folder of the site's own, of mode 700",
                          found=f"mode {mode:o} at {folder}",
                          fix="name another, which need not be there")


def open_state_folder(config: SiteConfig) -> None:
    """Make the state folder where it is not there, and close it to others.

    Raises:
        ConfigError: See `check_state_folder`.
    """
    check_state_folder(config)
    folder = config.state_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & OTHERS and not _others_in(folder):
            folder.chmod(0o700)
    except OSError as error:  # a file system of the system itself, or a folder of somebody else
        raise ConfigError("`state_dir:` cannot be used", expected="a folder of the site's own",
                          found=f"{folder}: {error.strerror or 'an error'}",
                          fix="correct `state_dir:`, or its permissions") from error


def _others_in(folder: Path) -> set[str]:
    """Return the names of what is not the site's own; what is being written begins with a dot."""
    return {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")} - _OWN
