"""How many subjects a site has to train on, counted without reading a scan; and a δ for so many."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from braing3n.budget import BudgetConfig
from braing3n.config import SiteConfig, load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.data.splits import (
    FILE_NAME,
    Side,
    Stratum,
    begin_split,
    open_split,
    strata_of,
    was_begun,
)
from braing3n.data.visits import choose
from braing3n.errors import BrainG3NError, CohortError, ConfigError
from braing3n.privacy.accountant import check_delta
from braing3n.yaml_files import parse


@dataclass(frozen=True)
class Counted:
    """How many subjects a site would train on.

    Attributes:
        number: How many; None where that cannot be told.
        why: Why not, in words.
        is_refused: Whether the site refuses to train for that.
    """

    number: int | None
    why: str = ""
    is_refused: bool = False


def count_subjects(path: Path) -> Counted:
    """Count the subjects of a site that is named by its settings' file, or say why that cannot be."""
    try:
        return Counted(training_subjects(load_site_config(path)))
    except BrainG3NError as error:
        return Counted(None, f"{error.what} ({error.found}); {error.fix}",
                       is_refused=isinstance(error, CohortError))
    except OSError as error:
        return Counted(None, f"{error.filename} cannot be read ({error.strerror})")


def training_subjects(config: SiteConfig) -> int:
    """Return how many subjects the site would train on, if all of their scans can be used.

    Args:
        config: As `load_site_config` returns it.

    Raises:
        CohortError: There is no cohort, or the record of the split is not as training wants it.
        ConfigError: The mapping file is wrong.
        OSError: Something cannot be read.
    """
    volumes, _ = choose(open_cohort(config.data).volumes, config.data)
    strata = strata_of((volume.subject, volume.conditions) for volume in volumes)
    return list(_split(config, strata).values()).count("train")


def _split(config: SiteConfig, strata: dict[str, Stratum]) -> dict[str, Side]:
    """Return every subject's side as training would; what the site remembers is copied first.

    Nothing is written to the site's own folder.
    """
    record = config.state_dir / FILE_NAME
    with TemporaryDirectory() as folder:
        copy = Path(folder) / FILE_NAME
        if record.exists():
            shutil.copyfile(record, copy)
        try:
            begin_split(copy, is_in_use=was_begun(config.state_dir))
            return open_split(copy, strata, config.data)
        except CohortError as error:  # it names the copy
            told = {key: str(getattr(error, key)).replace(folder, str(config.state_dir))
                    for key in ("what", "expected", "found", "fix")}
            raise CohortError(told.pop("what"), **told) from error


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


def check_delta_option(delta: float, num_subjects: int) -> None:
    """Check a δ that was given on the command line.

    Raises:
        ConfigError: See `check_delta_for`.
    """
    try:
        check_delta_for(delta, num_subjects, "--delta")
    except ConfigError as error:
        raise ConfigError(f"--delta {delta:g} cannot be used", expected=error.expected,
                          found=error.found,
                          fix="give another --delta, such as 1e-5, or leave it out") from error
