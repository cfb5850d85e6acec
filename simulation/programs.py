"""Programs of other packages, found in this Python's environment."""

import shutil
import sys
from pathlib import Path

from braing3n.errors import ConfigError


def program(name: str) -> str:
    """Return the path of a Flower program: that of this Python's environment first.

    Raises:
        ConfigError: It is not installed.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ConfigError(f"{name} is not installed", expected="Flower, and what `sim` needs",
                          found="no such program",
                          fix="run `make setup`, or `pip install braing3n[simulation]`")
    return found
