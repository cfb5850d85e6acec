"""The sites of a comparison: every arm trains on the same subjects, and on nobody held out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from braing3n.config import SiteConfig, load_site_config
from braing3n.data.cohort import open_cohort
from braing3n.data.examples import MIN_SUBJECTS_FOR_MOMENTS
from braing3n.data.splits import FILE_NAME, Side, place, remember, strata_of
from braing3n.errors import CohortError, ConfigError
from braing3n.files import write_text
from simulation.cohorts.row import CohortRow
from simulation.cohorts.scan_table import scan_table
from simulation.compare.arms import POOLED
from simulation.partition.parts import SitePart


@dataclass(frozen=True)
class Sites:
    """Who is where, and on which side of the split.

    Attributes:
        configs: Each site's settings, with its scans in a table of this comparison.
        split: Every subject's side. Ids have their site's name before them, as two hospitals may
            have a `sub-01` each.
        parts: Each site's scans.
    """

    configs: Mapping[str, SiteConfig]
    split: Mapping[str, Side]
    parts: tuple[SitePart, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The sites, by name."""
        return tuple(self.configs)


def open_sites(site_files: Iterable[Path], out: Path, held_out: float) -> Sites:
    """Read the sites' settings, and write the tables that all arms train from.

    Args:
        site_files: A settings file a site.
        out: The comparison's folder.
        held_out: Share of each site's subjects that no arm trains on.

    Raises:
        CohortError: A site has too few subjects, or there are fewer than two sites.
        ConfigError: A file is wrong, or sites are not preprocessed alike.
    """
    configs, split, few = dict[str, SiteConfig](), dict[str, Side](), list[str]()
    parts = list[SitePart]()
    for path in sorted(site_files):
        given = load_site_config(path)
        rows = _rows(given)
        parts.append(SitePart(given.name, tuple(rows)))
        table = out / "scans" / f"{given.name}.tsv"
        write_text(table, scan_table(rows))
        data = given.data.model_copy(update={
            "folder": None, "table": table.resolve(), "mapping": None, "held_out": held_out,
            "test": 0.0})
        configs[given.name] = given.model_copy(update={"data": data})
        sides = place(strata_of((row.subject, row.conditions) for row in rows), data, {})
        training = sum(side == "train" for side in sides.values())
        if training < MIN_SUBJECTS_FOR_MOMENTS or training == len(sides):
            few.append(f"{given.name} ({len(sides)})")
        split |= sides
    _check(configs, few, held_out)
    return Sites(configs, split, tuple(parts))


def write_arm_sites(sites: Sites, names: Iterable[str], folder: Path, *, pooled: bool) -> Path:
    """Write the settings of an arm's sites to `folder`, with the comparison's split in place.

    Args:
        sites: All of them.
        names: Whose scans the arm trains on.
        folder: Where.
        pooled: Whether they are one site.
    """
    chosen = [sites.configs[name] for name in names]
    if pooled:
        table = folder.parent / "pooled.tsv"
        texts = [config.data.table.read_text(encoding="utf-8") for config in chosen
                 if config.data.table is not None]
        header = texts[0].partition("\n")[0]
        write_text(table, "\n".join([header, *(text.partition("\n")[2].rstrip("\n")
                                               for text in texts)]) + "\n")
        data = chosen[0].data.model_copy(update={"table": table.resolve()})
        chosen = [chosen[0].model_copy(update={"name": POOLED, "data": data})]
    for config in chosen:
        state = folder / config.name
        content = config.model_copy(update={"state_dir": state.resolve()}).model_dump(mode="json")
        write_text(folder / f"{config.name}.yaml", yaml.safe_dump(content, sort_keys=False))
        if not (state / FILE_NAME).exists():
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            remember(state / FILE_NAME, sites.split)
    return folder


def _rows(config: SiteConfig) -> list[CohortRow]:
    return [CohortRow(f"{config.name}:{volume.subject}", volume.session, volume.site or config.name,
                      volume.conditions, volume.path)
            for volume in open_cohort(config.data).volumes]


def _check(configs: Mapping[str, SiteConfig], few: list[str], held_out: float) -> None:
    if len(configs) < 2:
        raise CohortError("there is nothing to compare", expected="two sites or more",
                          found=f"{len(configs)}", fix="see `braing3n sim partition`")
    if few:
        raise CohortError("sites have too few subjects", found=", ".join(few),
                          expected=f"at least {MIN_SUBJECTS_FOR_MOMENTS} to train on, and one of the "
                                   f"{held_out:.0%} held out",
                          fix="`sim partition --min-subjects N --small drop`, or merge")
    if len({config.preprocessing for config in configs.values()}) > 1:
        raise ConfigError("sites are not preprocessed alike", expected="one `preprocessing:` for all",
                          found="several", fix="a pooled arm could not be compared with them")
