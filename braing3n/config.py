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
    """One site. Read at the site, never sent.

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
        "folder": None if config.data.folder is None else folder / config.data.folder,
        "table": None if config.data.table is None else folder / config.data.table,
    })
    source = data.folder or data.table
    if source is not None and not source.exists():
        raise ConfigError(f"{path} names data that is not there", expected="an existing path",
                          found=str(source), fix="correct `data:` in that file")
    return config.model_copy(update={"data": data, "state_dir": folder / config.state_dir})
