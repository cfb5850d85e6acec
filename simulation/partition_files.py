"""A partition as files: for each site its settings and the table of its scans."""

import json
from pathlib import Path

import yaml

from braing3n.errors import OutputError
from braing3n.files import write_text
from simulation.partition import Partition, SitePart
from simulation.scan_rows import scan_table
from simulation.sites import site_name


def write_partition(done: Partition, out: Path) -> int:
    """Write `partition.json`, and for each site with scans `sites/NAME.yaml` and its table.

    Args:
        done: The partition.
        out: A new or empty folder.

    Returns:
        The number of sites that were written; none where the rows are of people without scans.

    Raises:
        OutputError: The folder is taken, or cannot be written to.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is taken", expected="a new or empty folder",
                          found="files in it" if out.is_dir() else "a file", fix="name another --out")
    sites = [site for site in done.sites if any(row.path is not None for row in site.rows)]
    names = _names(sites)
    try:
        for site in sites:
            name = names[site.name]
            write_text(out / "sites" / f"{name}.tsv", scan_table(site.rows))
            write_text(out / "sites" / f"{name}.yaml", yaml.safe_dump(
                {"name": name, "data": {"table": f"{name}.tsv"}, "state_dir": f"{name}-state"},
                sort_keys=False))
        write_text(out / "partition.json", json.dumps(done.as_dict(), indent=1) + "\n")
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
