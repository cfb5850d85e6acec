"""Flower's programs: where they are, and the environment that they are started in."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from braing3n.errors import ConfigError


def program(name: str, fix: str = "run `make setup`, or install braing3n again") -> str:
    """Return the path of a program: that of this Python's environment first.

    Args:
        name: The program's.
        fix: What to do where it is missing.

    Raises:
        ConfigError: It is not installed.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ConfigError(f"{name} is not installed", expected=f"a program {name}",
                          found="no such program", fix=fix)
    return found


def environment(home: Path) -> dict[str, str]:
    """Return the environment for Flower's programs: our FLWR_HOME, no downloads, no telemetry.

    Args:
        home: FLWR_HOME. Flower's default is one for all projects and users of a machine.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")}
    return {
        **kept,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONUNBUFFERED": "1",
        **own_ports_directly(kept),
        # Programs that Flower's programs start are found by name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
    }


def own_ports_directly(now: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep programs from asking a proxy for this machine's own ports.

    Args:
        now: The environment: what it exempts already, by either name, stays exempt.
    """
    names = ("NO_PROXY", "no_proxy")  # where both are set, most programs read the second alone
    exempt = [one.strip() for name in names for one in now.get(name, "").split(",")]
    return dict.fromkeys(names, ",".join(filter(None, dict.fromkeys(["127.0.0.1", *exempt]))))
