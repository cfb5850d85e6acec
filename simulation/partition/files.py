"""A partition as files: settings and scans of each site, and what differs between sites."""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from braing3n.errors import OutputError
from braing3n.files import replacing, write_text
from simulation.cohorts.scan_table import scan_table
from simulation.partition.asked import Asked
from simulation.partition.groups import Differences
from simulation.partition.parts import Partition, SitePart
from simulation.site_folders import site_name


def write_partition(done: Partition, found: Differences, pages: Mapping[str, str | bytes],
                    out: Path, asked: Asked | None = None) -> int:
    """Write `partition.json`, and for each site with scans `sites/NAME.yaml` and its table.

    Args:
        done: The partition.
        found: What differs between its sites.
        pages: What else is written, by name: texts and pictures.
        out: A new or empty folder.
        asked: How it was asked for.

    Returns:
        The number of sites that were written; none where the rows are of people without scans.

    Raises:
        OutputError: The folder cannot be written to.
    """
    sites = [site for site in done.sites if any(row.path is not None for row in site.rows)]
    names = _names(sites)
    record = {**done.as_dict(), "scheme": done.scheme.as_dict(), "differences": found.as_dict(),
              **({} if asked is None else {"asked": asked.as_dict()}),
              "files": {site: f"sites/{name}.yaml" for site, name in names.items()}}
    try:
        for site in sites:
            name = names[site.name]
            write_text(out / "sites" / f"{name}.tsv", scan_table(site.rows))
            write_text(out / "sites" / f"{name}.yaml", yaml.safe_dump(
                {"name": name, "data": {"table": f"{name}.tsv"}, "state_dir": f"{name}-state"},
                sort_keys=False))
        for name, content in pages.items():
            with replacing(out / name) as part:
                part.write_bytes(content.encode() if isinstance(content, str) else content)
        write_text(out / "partition.json", json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise OutputError(f"{out} cannot be written", expected="a folder to write to",
                          found=error.strerror or "an error", fix="name another --out") from error
    return len(sites)


def _names(sites: list[SitePart]) -> dict[str, str]:
    """Return a name of small letters and digits for each site; two of one name are numbered."""
    names = dict[str, str]()
    for site in sites:
        base, number = site_name(site.name), 1
        name = base
        while name in names.values():
            number += 1
            name = f"{base[:36]}-{number}"
        names[site.name] = name
    return names
