"""A site's own settings: where its scans are, what it computes on. They never leave the site."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from braing3n.budget import BudgetConfig, EgressConfig, PlanRules, ReleaseConfig
from braing3n.errors import ConfigError
from braing3n.yaml_files import StrictModel, load_yaml, misfit, parse

Modality = Literal["T1w", "T2w", "FLAIR", "T1c", "unknown"]
# How a linear probe is fitted; see docs/probes.md.
Method = Literal["ridge", "lda", "logistic", "cox"]


class DataConfig(StrictModel):
    """Where the scans are: a BIDS folder, or a table with one row a scan.

    Attributes:
        folder: A BIDS dataset.
        table: A CSV, TSV or XLSX file with at least the columns `subject` and `path`.
        mapping: A YAML file that says how columns are named otherwise and what codes mean; see
            `braing3n.data.people.mapping`. For a folder, it is about its participants.tsv.
        held_out: Share of the subjects that are never trained on, and that models are measured
            on after each round: the validation set. A hash of the id chooses them.
        test: Share of the subjects that are neither trained on nor measured on while training.
        draw: `even` spreads the held-out subjects over diagnosis, sex and age; `alone` places each by
            its own hash, whoever else is there, as a site with a privacy budget has to.
        modalities: What is used; None is everything.
        per_visit: All scans, or the best of each subject, visit and modality; see
            `braing3n.data.visits.preference`.
    """

    folder: Path | None = None
    table: Path | None = None
    mapping: Path | None = None
    held_out: Annotated[float, Field(ge=0, lt=1, description="a share, such as 0.2")] = 0.2
    test: Annotated[float, Field(ge=0, lt=1, description="a share, such as 0.1")] = 0.0
    draw: Literal["even", "alone"] = "even"
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)] | None = None
    per_visit: Literal["all", "best"] = "all"

    @model_validator(mode="after")
    def _one_source(self) -> "DataConfig":
        mistakes = {}
        if (self.folder is None) == (self.table is None):
            key = "folder" if self.folder is None else "table"
            mistakes[key] = ("exactly one of `folder` and `table`", "name one of the two under `data:`")
        if self.held_out + self.test >= 1:
            mistakes["test"] = (
                f"below 1 together with `held_out: {self.held_out:g}`, so that some are trained on",
                "make `held_out` or `test` smaller")
        if mistakes:
            raise misfit(self, mistakes)
        return self


class CacheConfig(StrictModel):
    """How preprocessed scans and embeddings are kept in the state folder.

    Attributes:
        limit_gb: What they may take on the disk, in 10⁹ bytes; None is without limit.
        encrypt: Whether they are encrypted (AES-256-GCM).
        key_file: The key for that, in a file of its owner's alone, outside the state folder.
    """

    limit_gb: Annotated[float, Field(gt=0)] | None = None
    encrypt: bool = False
    key_file: Path | None = None

    @model_validator(mode="after")
    def _a_key_to_encrypt_with(self) -> "CacheConfig":
        if self.encrypt and self.key_file is None:
            raise misfit(self, {"key_file": ("a file with the key, as `encrypt` is true",
                                             "name a `key_file`, or leave `encrypt` out")})
        if self.key_file is not None and not self.encrypt:
            raise misfit(self, {"encrypt": ("true, as there is a `key_file`",
                                            "write `encrypt: true`, or leave `key_file` out")})
        return self


class PreprocessingConfig(StrictModel):
    """What is done to a scan before it is resampled; by default nothing.

    Attributes:
        bias_field: Whether N4 evens out the brightness.
        skull_strip: Whether HD-BET takes the brain out of the head.
        hd_bet_model: The folder of HD-BET 2's model.
        registration: Whether brains are moved to the template.
        template: A stripped brain (NIfTI). Without `registration`, what the scans are registered
            to already.
        check: Whether a scan that then does not look stripped, or does not fit the template, is
            left out.
    """

    bias_field: Literal["none", "n4"] = "none"
    skull_strip: Literal["none", "hd-bet"] = "none"
    hd_bet_model: Path | None = None
    registration: Literal["none", "affine"] = "none"
    template: Path | None = None
    check: bool = True

    @model_validator(mode="after")
    def _what_the_tools_need(self) -> "PreprocessingConfig":
        mistakes = {}
        if self.skull_strip == "hd-bet" and self.hd_bet_model is None:
            mistakes["hd_bet_model"] = ("the folder of HD-BET's model, for `skull_strip: hd-bet`",
                                        "name `hd_bet_model`, or leave `skull_strip` out")
        if self.hd_bet_model is not None and self.skull_strip != "hd-bet":
            mistakes["skull_strip"] = ("`hd-bet`, as there is an `hd_bet_model`",
                                       "write `skull_strip: hd-bet`, or leave `hd_bet_model` out")
        if self.registration == "affine" and self.template is None:
            mistakes["template"] = ("a stripped brain, for `registration: affine`",
                                    "name a `template`, or leave `registration` out")
        if mistakes:
            raise misfit(self, mistakes)
        return self


class SiteConfig(StrictModel):
    """One site.

    It is read at the site. Of all this only `name` is ever sent, and of a budget `delta` and `engine`.

    Attributes:
        name: The name that the consortium agreed on; it is what the others see.
        data: Where the scans are.
        state_dir: The site's own folder for its cache, optimiser moments, frozen models and log.
        device: What to compute on.
        threads: CPU threads. Fixed, because the last bits of a sum depend on it.
        cache: How preprocessed scans and embeddings are kept there.
        preprocessing: What is done to a scan before it is resampled.
        probe_methods: The fits of linear probes that the site gives sums for, over five people at
            least; by default none. See docs/probes.md for what leaves then.
        budget: The privacy budget; None trains without differential privacy.
        release: What else may leave, and how.
        plans: Which plans it works on.
        egress: What a reply may hold at most.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description=(
        "1 to 40 small letters, digits and hyphens, as agreed in the consortium"))]
    data: DataConfig
    state_dir: Path
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    cache: CacheConfig = CacheConfig()
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    probe_methods: tuple[Method, ...] = ()
    budget: BudgetConfig | None = None
    release: ReleaseConfig = ReleaseConfig()
    plans: PlanRules = PlanRules()
    egress: EgressConfig = EgressConfig()

    @model_validator(mode="after")
    def _nothing_passes_the_budget_by(self) -> "SiteConfig":
        if self.budget is None:
            return self
        mistakes = {f"release.{key}": (
            "`noised` or `withheld`, as the site has a `budget`",
            f"write one of them for `release: {key}:`, or leave that out")
            for key, how in self.release if how in ("exact", "bucketed")}
        if self.data.draw != "alone":
            mistakes["data.draw"] = (
                "`alone`, as the site has a `budget`, so that no patient moves another",
                "write `draw: alone` under `data:`")
        if self.probe_methods:
            mistakes["probe_methods"] = (
                "none, as the site has a `budget` and sums for probes are exact",
                "take `probe_methods` out")
        if mistakes:
            raise misfit(self, mistakes)
        return self

    @model_validator(mode="after")
    def _noise_needs_a_budget(self) -> "SiteConfig":
        noised = [key for key, how in self.release if how == "noised"]
        if self.budget is None and noised:
            raise misfit(self, {f"release.{key}": (
                "not `noised` without a `budget` to charge it to",
                "write a `budget:`, or `withheld` for what is not to leave") for key in noised})
        return self


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
        "mapping": None if config.data.mapping is None else folder / config.data.mapping.expanduser(),
    })
    if data.folder is not None and not data.folder.is_dir():
        raise ConfigError(f"{path} names data that is not there", expected="a folder",
                          found=_kind(data.folder), fix="correct `data: folder:` in that file")
    for key, file in (("table", data.table), ("mapping", data.mapping)):
        if file is not None and not file.is_file():
            raise ConfigError(f"{path} names data that is not there", expected="a file",
                              found=_kind(file), fix=f"correct `data: {key}:` in that file")
    state_dir = folder / config.state_dir.expanduser()
    if state_dir.is_file() or state_dir == data.folder:
        raise ConfigError(f"{path} names no folder of the site's own", expected="a new or own folder",
                          found=_kind(state_dir), fix="correct `state_dir:` in that file")
    return config.model_copy(update={
        "data": data, "state_dir": state_dir, "cache": _with_key(config.cache, path, state_dir),
        "preprocessing": _with_files(config.preprocessing, path),
    })


def _with_key(cache: CacheConfig, path: Path, state_dir: Path) -> CacheConfig:
    """Return the cache's settings with the key file's place in full."""
    if cache.key_file is None:
        return cache
    key_file = path.resolve().parent / cache.key_file.expanduser()
    if key_file.resolve().is_relative_to(state_dir.resolve()):
        raise ConfigError(f"{path} keeps the cache's key beside the cache", found=str(key_file),
                          expected="a key file outside of state_dir",
                          fix="move it: whoever copies that folder would have both")
    return cache.model_copy(update={"key_file": key_file})


def _with_files(preprocessing: PreprocessingConfig, path: Path) -> PreprocessingConfig:
    """Return the settings with the places of model and template in full; see `open_chain`."""
    places = {"hd_bet_model": preprocessing.hd_bet_model, "template": preprocessing.template}
    return preprocessing.model_copy(update={
        key: path.resolve().parent / place.expanduser()
        for key, place in places.items() if place is not None
    })


def _kind(path: Path) -> str:
    """Return what is at a path, in words."""
    if not path.exists():
        return f"nothing at {path}"
    return f"a folder at {path}" if path.is_dir() else f"a file at {path}"
