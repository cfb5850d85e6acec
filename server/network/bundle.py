"""The Flower app that runs are started with: a definition, and no code."""

import shutil
from pathlib import Path

import server
from braing3n.errors import ConfigError

FILES = ("pyproject.toml", "LICENSE")


def bundle() -> Path:
    """Return the folder with the app's definition: in this package, or beside it in the checkout.

    Raises:
        ConfigError: Neither is there.
    """
    package = Path(server.__file__).parent
    for folder in (package / "bundle", package.parent):
        if all((folder / name).exists() for name in FILES):
            return folder
    raise ConfigError("the Flower app's definition is missing", expected=" and ".join(FILES),
                      found=f"none beside {package}", fix="install braing3n again")


def copy_bundle(folder: Path) -> Path:
    """Copy the definition, and nothing else, to a new folder, and return that."""
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(bundle() / name, folder / name)
    return folder
