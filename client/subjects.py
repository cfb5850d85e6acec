"""How many subjects a site has to train on, counted without reading a scan; and a δ for so many."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig
from braing3n.data.cohort import open_cohort
from braing3n.data.splits import FILE_NAME, open_split, strata_of
from braing3n.data.visits import choose
from braing3n.privacy.accountant import check_delta
from braing3n.yaml_files import parse


def training_subjects(config: SiteConfig) -> int:
    """Return how many subjects the site would train on, if all of their scans can be used.

    Nothing is written: what the site remembers of who is held out is looked into in a copy.

    Args:
        config: As `load_site_config` returns it.

    Raises:
        CohortError: There is no cohort, or the record of the split is not as training wants it.
        ConfigError: The mapping file is wrong.
        OSError: Something cannot be read.
    """
    volumes, _ = choose(open_cohort(config.data).volumes, config.data)
    strata = strata_of((volume.subject, volume.conditions) for volume in volumes)
    with TemporaryDirectory() as folder:
        record = Path(folder) / FILE_NAME
        if (config.state_dir / FILE_NAME).exists():
            shutil.copyfile(config.state_dir / FILE_NAME, record)
        return list(open_split(record, strata, config.data).values()).count("train")


def check_delta_for(delta: float, num_subjects: int, source: str) -> None:
    """Check a δ as settings, site and commands do: by what a budget may say, then by the subjects.

    Args:
        delta: δ.
        num_subjects: n, the subjects that are trained on.
        source: Where the δ came from, for messages.

    Raises:
        ConfigError: It is none that a budget may have, or above 1/n.
    """
    parse(BudgetConfig, {"epsilon": 1.0, "delta": delta}, source)
    check_delta(delta, num_subjects)
