"""A partition as files: settings and scans of each site, and what differs between sites."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from braing3n.errors import OutputError
from braing3n.files import replacing, write_text
from simulation.cohort_rows import CohortRow
from simulation.partition import Partition, SitePart
from simulation.site_differences import Differences
from simulation.sites import site_name

_COLUMNS = ("subject", "session", "path", "modality", "age", "sex", "diagnosis", "severity",
            "field_strength", "site")


def write_partition(done: Partition, found: Differences, pages: Mapping[str, str | bytes],
                    out: Path) -> int:
    """Write `partition.json`, and for each site with scans `sites/NAME.yaml` and its table.

    Args:
        done: The partition.
        found: What differs between its sites.
        pages: What else is written, by name: texts and pictures.
        out: A new or empty folder.

    Returns:
        The number of sites that were written; none where the rows are of people without scans.

    Raises:
        OutputError: The folder cannot be written to.
    """
    sites = [site for site in done.sites if any(row.path is not None for row in site.rows)]
    names = _names(sites)
    record = {**done.as_dict(), "scheme": done.scheme.as_dict(), "differences": found.as_dict(),
              "files": {site: f"sites/{name}.yaml" for site, name in names.items()}}
    try:
        for site in sites:
            name = names[site.name]
            write_text(out / "sites" / f"{name}.tsv", _table(site))
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


def _table(site: SitePart) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(_cells(row) for row in site.rows if row.path is not None)
    return stream.getvalue()


def _cells(row: CohortRow) -> list[str]:
    known = row.conditions
    # A link stays one: where it leads, as in git-annex, no name tells a scan and no sidecar is near.
    path = row.path and row.path.absolute()
    values = (row.subject, row.session, path, known.modality, known.age_years, known.sex,
              known.diagnosis, known.severity, known.field_strength, row.site)
    return ["n/a" if value is None else _text(value) for value in values]


def _text(value: object) -> str:
    """Return a value as it is read back to the last bit: a number without an exponent."""
    return np.format_float_positional(value) if isinstance(value, float) else str(value)
