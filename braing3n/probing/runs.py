"""What `--model` may name: the folder of a run that has an encoder."""

from pathlib import Path

from braing3n.errors import ConfigError
from braing3n.listing import first_of

_EXPECTED = "a run's folder, with plan.yaml and model/encoder.safetensors"


def check_run(run: Path) -> None:
    """Check that a folder is that of a run with an encoder.

    Raises:
        ConfigError: It is not; what it is, and what to name in its place, is said.
    """
    if not run.is_dir():
        raise ConfigError(f"{run} is no folder", expected=_EXPECTED,
                          found="a file" if run.exists() else "nothing there",
                          fix="correct --model")
    if not (run / "plan.yaml").is_file():
        raise _no_run(run)
    if not (run / "model" / "encoder.safetensors").is_file():
        raise ConfigError(f"{run} has no encoder", expected=_EXPECTED,
                          found="no model/encoder.safetensors: the first stage is not over",
                          fix="the command that began the run goes on with it; let it come to its end")


def _no_run(folder: Path) -> ConfigError:
    arms = _runs_in(folder / "arms")
    if arms:
        best = "federated" if "federated" in arms else arms[0]
        return ConfigError(f"{folder} is the folder of a comparison, which holds several runs",
                           expected=_EXPECTED, found=f"its arms: {first_of(arms)}",
                           fix=f"name an arm: --model {folder / 'arms' / best}")
    runs = _runs_in(folder)
    return ConfigError(f"{folder} is no run's folder", expected=_EXPECTED, found="no plan.yaml in it",
                       fix=f"name a run that is in it: --model {folder / runs[0]}" if runs else
                       "name the folder that `braing3n sim run --out` wrote")


def _runs_in(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/plan.yaml"))
