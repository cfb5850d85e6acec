"""What `braing3n site check` looks at: the data that a site's settings name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from braing3n.config import SiteConfig, load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.data.envelope import load_key
from braing3n.data.findings import Finding, Rule, Severity
from braing3n.data.tools.toolbox import open_chain
from braing3n.data.visits import choose
from braing3n.errors import ConfigError
from braing3n.preflight.command import Look
from braing3n.preflight.folder import check_folder, check_listed
from braing3n.preflight.outcome import Preflight, Wishes
from braing3n.privacy.ledger import FILE_NAME
from client.past import look_back, other_accounts, removed_budget
from client.site import Site
from client.state_folder import check_state_folder
from client.subjects import check_delta_for, training_subjects

_OTHER_ACCOUNT = Rule(
    "cohort-renamed", Severity.WARN, "The site's ledger has an account under another cohort name.",
    "one name for the same patients, for good",
    "if these are the same patients, write the old name into `budget: cohort:` again")
_REMOVED = Rule(
    "budget-removed", Severity.WARN, "The settings have no budget any more, and the site's ledger has.",
    "the budget that the patients were promised",
    "write `budget:` back: training without it voids that for good")


def look_at_site(path: Path) -> Look:
    """Read a site's settings, and return the check of its data.

    Raises:
        ConfigError: The settings are wrong, or name data that is not there.
        CohortError: The table of scans cannot be used at all.
        LedgerError: The site's ledger is damaged, gone, or not the one that its receipts are for.
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
        return _with_account(config, lambda shown: check_listed(table, listed, shown(wishes)))
    if data.folder is not None:
        folder = data.folder
        return _with_account(config, lambda shown: check_folder(folder, shown(wishes)))
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
    if config.budget is None:
        choose(open_cohort(config.data).volumes, config.data)
    else:
        check_delta_for(config.budget.delta, training_subjects(config), "budget.delta")


def _with_account(config: SiteConfig, look: Look) -> Look:
    """Return a check that also warns of what the site's ledger has, and the settings have not."""
    past = look_back(config)
    said = {_OTHER_ACCOUNT: other_accounts(config, past), _REMOVED: removed_budget(config, past)}
    found = tuple(Finding(rule, config.state_dir / FILE_NAME, account, rule.expected, rule.fix)
                  for rule, accounts in said.items() for account in accounts)

    def looked(shown: Callable[[Wishes], Wishes]) -> Preflight:
        preflight = look(shown)
        # Warnings follow what is worse, and go before what is only odd.
        worse = [one for one in preflight.findings
                 if one.rule.severity in (Severity.ERROR, Severity.PRIVACY)]
        return replace(preflight, findings=(*worse, *found, *preflight.findings[len(worse):]))

    return looked
