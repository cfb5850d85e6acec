"""A site's own settings: where its scans are, what it computes on. They never leave the site."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from braing3n.errors import ConfigError
from braing3n.yaml_files import StrictModel, load_yaml, parse


class DataConfig(StrictModel):
    """Where the scans are: a BIDS folder, or a table with one row a scan.

    Attributes:
        folder: A BIDS dataset.
        table: A CSV or TSV file with at least the columns `subject` and `path`.
        held_out: Share of the subjects that are never trained on, chosen by a hash of the id.
    """

    folder: Path | None = None
    table: Path | None = None
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @model_validator(mode="after")
    def _one_source(self) -> "DataConfig":
        if (self.folder is None) == (self.table is None):
            raise ValueError("exactly one of folder and table")
        return self


class SiteConfig(StrictModel):
    """One site. Read at the site; of all this only `name` is ever sent.

    Attributes:
        name: The name that the consortium agreed on; it is what the others see.
        data: Where the scans are.
        state_dir: The site's own folder for its cache, optimiser moments, frozen models and log.
        device: What to compute on.
        threads: CPU threads. Fixed, because the last bits of a sum depend on it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    data: DataConfig
    state_dir: Path
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=1, le=256)] = 1


def load_site_config(path: Path) -> SiteConfig:
    """Read a site's YAML; relative paths are relative to the file.

    Raises:
        ConfigError: The file is wrong, or the data that it names is not there.
    """
    config = parse(SiteConfig, load_yaml(path), str(path))
    folder = path.resolve().parent
    data = config.data.model_copy(update={
        "folder": None if config.data.folder is None else folder / config.data.folder.expanduser(),
        "table": None if config.data.table is None else folder / config.data.table.expanduser(),
    })
    if data.folder is not None and not data.folder.is_dir():
        raise ConfigError(f"{path} names data that is not there", expected="a folder",
                          found=_kind(data.folder), fix="correct `data: folder:` in that file")
    if data.table is not None and not data.table.is_file():
        raise ConfigError(f"{path} names data that is not there", expected="a file",
                          found=_kind(data.table), fix="correct `data: table:` in that file")
    state_dir = folder / config.state_dir.expanduser()
    if state_dir.is_file() or state_dir == data.folder:
        raise ConfigError(f"{path} names no folder of the site's own", expected="a new or own folder",
                          found=_kind(state_dir), fix="correct `state_dir:` in that file")
    return config.model_copy(update={"data": data, "state_dir": state_dir})


def _kind(path: Path) -> str:
    """Return what is at a path, in words."""
    if not path.exists():
        return f"nothing at {path}"
    return f"a folder at {path}" if path.is_dir() else f"a file at {path}"
