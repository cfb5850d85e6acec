"""What `braing3n site check` looks at: the data that a site's settings name."""

from pathlib import Path

from braing3n.config import SiteConfig, load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.data.envelope import load_key
from braing3n.data.tools.toolbox import open_chain
from braing3n.data.visits import choose
from braing3n.errors import ConfigError
from braing3n.preflight.command import Look
from braing3n.preflight.folder import check_folder, check_listed
from braing3n.preflight.outcome import Wishes
from braing3n.privacy.accountant import check_delta
from client.site import Site
from client.state_folder import check_state_folder


def look_at_site(path: Path) -> Look:
    """Read a site's settings, and return the check of its data.

    Raises:
        ConfigError: The settings are wrong, or name data that is not there.
        CohortError: The table of scans cannot be used at all.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", expected="a site's YAML file", found="a folder",
                          fix=f"use `braing3n check {path}`")
    config = load_site_config(path)
    data, preprocessing = config.data, config.preprocessing
    _try_settings(config)
    wishes = Wishes(
        mapping_file=data.mapping,
        aside=frozenset({config.state_dir}),
        refuses_skulls=preprocessing.check and preprocessing.skull_strip == "none")
    if data.table is not None:
        table, listed = data.table, [volume.path for volume in open_cohort(data).volumes]
        return lambda shown: check_listed(table, listed, shown(wishes))
    if data.folder is not None:
        folder = data.folder
        return lambda shown: check_folder(folder, shown(wishes))
    raise ConfigError(f"{path} names no data", expected="`data: folder:` or `data: table:`",
                      found="neither", fix="add one of them")


def _try_settings(config: SiteConfig) -> None:
    """Open what training would open besides the scans, so that a mistake shows now.

    Raises:
        ConfigError: The state folder, the device, the cache's key, or a tool of preprocessing is
            not there.
        ConfigError: The budget's δ is too large for so many patients.
        CohortError: No scan is of a kind that the settings want.
    """
    check_state_folder(config)
    _ = Site(config).device
    if config.cache.key_file is not None:
        load_key(config.cache.key_file)
    open_chain(config.preprocessing, config.device)
    volumes, _ = choose(open_cohort(config.data).volumes, config.data)
    if config.budget is not None:
        check_delta(config.budget.delta, len({volume.subject for volume in volumes}))
