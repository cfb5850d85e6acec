"""A site's settings for commands that need no scan: they also run where the scans cannot be seen."""

from pathlib import Path

from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig
from braing3n.errors import ConfigError
from braing3n.yaml_files import load_yaml, parse


def load_settings(path: Path) -> SiteConfig:
    """Read a site's YAML, with the place of its state folder in full and no look at any data.

    Whoever reads scans uses `braing3n.config.load_site_config`; here their places stay as written.

    Raises:
        ConfigError: The file is wrong, or its state folder is no folder.
    """
    config = parse(SiteConfig, load_yaml(path), str(path))
    state_dir = path.resolve().parent / config.state_dir.expanduser()
    if state_dir.exists() and not state_dir.is_dir():
        raise ConfigError(f"{path} names no folder of the site's own", expected="a new or own folder",
                          found=f"a file at {state_dir}", fix="correct `state_dir:` in that file")
    return config.model_copy(update={"state_dir": state_dir})


def load_with_budget(path: Path) -> tuple[SiteConfig, BudgetConfig]:
    """Read a site's YAML, as `load_settings` does, where the site must have a budget.

    Returns:
        The settings, and their budget.

    Raises:
        ConfigError: The file is wrong, or has none.
    """
    config = load_settings(path)
    if config.budget is None:
        raise ConfigError(f"{path} has no budget", expected="`budget:` with epsilon and delta",
                          found="none: this site trains without differential privacy",
                          fix="write one. If there was one, write it back: training without it voids "
                              "for good what it promised")
    return config, config.budget
