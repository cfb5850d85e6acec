"""`braing3n site prepare` and `braing3n site cache-key`: a site's cache, before any training."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from braing3n.presets import PRESETS, PresetName
from client.state_folder import open_state_folder

if TYPE_CHECKING:  # what computes is imported where it is used, to keep --help fast
    from collections.abc import Callable

    from braing3n.config import SiteConfig
    from braing3n.data.examples import Example
    from braing3n.data.site_data import SiteData


@dataclass(frozen=True)
class Prepared:
    """What `prepare_site` came to.

    Attributes:
        site: The site's name.
        preset: The sizes that were prepared for.
        volumes: Usable scans.
        cached: How many of them are in the cache now; fewer where its limit leaves no room.
        repaired: How many entries were damaged and are made again.
        skipped: The other scans: path and reason.
        notes: What was done, left aside or not understood, and how subjects are split.
        split: For `train`, `validation` and `test`, the number of subjects and of volumes.
        cache_bytes: What the cache takes on the disk.
        cache_limit_gb: What it may take; None is without limit.
        encrypted: Whether it is encrypted.
        warnings: What training now would break that was promised before.
    """

    site: str
    preset: PresetName
    volumes: int
    cached: int
    repaired: int
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    split: dict[str, dict[str, int]]
    cache_bytes: int
    cache_limit_gb: float | None
    encrypted: bool
    warnings: tuple[str, ...]


def prepare_site(config: "SiteConfig", preset: PresetName,
                 progress: "Callable[[int, int], None] | None" = None) -> Prepared:
    """Preprocess every scan of a site that is not cached, and check every entry that is.

    Args:
        config: The site's settings.
        preset: The sizes to prepare for: those of the plan that the site will train.
        progress: Called with (scans done, all).

    Raises:
        CohortError: The site has no usable scan; see `open_site_data`.
        ConfigError: The cache's key is missing or wrong, or the state folder cannot be used.
        LedgerError: There is no budget any more, and the ledger is damaged or gone.
        ScanError: A scan has changed in the meantime.
    """
    from braing3n.data.site_data import open_site_data  # noqa: PLC0415
    from client.past import look_back, removed_budget  # noqa: PLC0415

    open_state_folder(config)
    warnings = removed_budget(config, look_back(config)) if config.budget is None else []
    data = open_site_data(config, PRESETS[preset], progress)
    sides = {"train": data.train, "validation": data.held_out, "test": data.test}
    examples = [example for side in sides.values() for example in side]
    return Prepared(
        site=config.name, preset=preset, volumes=len(examples), repaired=_repair(data, examples),
        cached=sum(data.shelf.cache.has(example.key) for example in examples),
        skipped=tuple((str(scan.path), scan.reason) for scan in data.skipped),
        notes=data.notes,
        split={name: {"subjects": len({e.subject for e in side}), "volumes": len(side)}
               for name, side in sides.items()},
        cache_bytes=data.shelf.cache.num_bytes(), cache_limit_gb=config.cache.limit_gb,
        encrypted=config.cache.encrypt, warnings=tuple(warnings),
    )


def _repair(data: "SiteData", examples: "list[Example]") -> int:
    """Read every entry, make damaged ones again, and return their number."""
    cache, repaired = data.shelf.cache, 0
    for example in examples:
        if cache.has(example.key) and cache.load(example.key) is None:
            data.volumes([example])
            repaired += 1
    return repaired


def describe(prepared: Prepared) -> str:
    """Return what was prepared, for a person."""
    limit = "" if prepared.cache_limit_gb is None else f" of at most {prepared.cache_limit_gb:g} GB"
    lines = [
        f"{prepared.site}: {prepared.cached} of {prepared.volumes} volumes are cached, for plans with "
        f"`preset: {prepared.preset}` only",
        f"on the disk: {decimal(prepared.cache_bytes)}{limit}, "
        f"{'encrypted' if prepared.encrypted else 'not encrypted'}",
    ]
    if prepared.repaired:
        lines.append(f"damaged and made again: {prepared.repaired}")
    if prepared.cached < prepared.volumes:
        lines.append(f"no room for {prepared.volumes - prepared.cached}: they are made again whenever "
                     "they are read, which is slow")
    lines += [f"left out {reason}" for _, reason in prepared.skipped]
    lines += prepared.notes
    lines += [f"warning: {warning}" for warning in prepared.warnings]
    lines.append("names, dates and record numbers were not looked for: `braing3n site check` does "
                 "that")
    return "\n".join(lines)


def prepare(
    site: Annotated[Path, typer.Argument(help="The site's YAML file.")],
    preset: Annotated[
        PresetName, typer.Option(help="That of the plan to be trained; the coordinator knows it.")
    ] = "nano",
    cache_limit: Annotated[
        float | None, typer.Option(help="GB that the cache may take, in place of the file's own.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Read and preprocess all scans of a site now, so that training does not wait for it.

    Exit codes: 0 all scans can be used, 1 some were left out, 2 misuse.
    """
    from rich.console import Console  # noqa: PLC0415

    from braing3n.config import load_site_config  # noqa: PLC0415
    from braing3n.counting import counting  # noqa: PLC0415

    config = load_site_config(site)
    if cache_limit is not None:
        config = _limited(config, cache_limit)
    with counting(Console(stderr=True), "reading scans") as show:
        prepared = prepare_site(config, preset, show)
    typer.echo(json.dumps(_as_dict(prepared)) if as_json else describe(prepared))
    raise typer.Exit(1 if prepared.skipped else 0)


def cache_key(
    file: Annotated[Path, typer.Argument(help="Where to write it; nothing may be there yet.")],
) -> None:
    """Make a key to encrypt the cache with, in a file that its owner alone may read.

    Without this file the cache cannot be read; it can be made again from the scans.
    """
    from braing3n.data.envelope import write_key  # noqa: PLC0415

    write_key(file)
    typer.echo(f"key: {file}\nname it in the site's settings:\ncache:\n  encrypt: true\n"
               f"  key_file: {file.resolve()}")


def _limited(config: "SiteConfig", limit_gb: float) -> "SiteConfig":
    from braing3n.errors import ConfigError  # noqa: PLC0415

    if not limit_gb > 0:
        raise ConfigError("--cache-limit is no size", expected="GB, more than 0",
                          found=f"{limit_gb:g}", fix="leave it out for no limit")
    cache = config.cache.model_copy(update={"limit_gb": limit_gb})
    return config.model_copy(update={"cache": cache})


def _as_dict(prepared: Prepared) -> dict[str, Any]:
    skipped = [{"path": path, "reason": reason} for path, reason in prepared.skipped]
    return {**asdict(prepared), "skipped": skipped}
