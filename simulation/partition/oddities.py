"""What somebody has to know of a partition: ids, sites and scans that are not as they should be."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from braing3n.data.people.names import site_key
from braing3n.listing import first_of
from simulation.cohorts.row import CohortRow


@dataclass(frozen=True)
class PartitionWarning:
    """What somebody has to know of a partition; `code` stays the same between versions."""

    code: str
    detail: str


def repeated_ids(ids: Sequence[str]) -> list[PartitionWarning]:
    """Tell ids that have several rows of one visit."""
    return [PartitionWarning("repeated-id", f"{len(ids)} ids have several rows: {first_of(ids)}")] if (
        ids) else []


def unknown_sites(rows: Sequence[CohortRow]) -> list[PartitionWarning]:
    """Tell of how many rows no site is known."""
    count = sum(row.site is None for row in rows)
    return [PartitionWarning("site-unknown", f"{count} of {len(rows)} rows tell no site")] if (
        count) else []


def missing_scans(rows: Iterable[CohortRow]) -> list[PartitionWarning]:
    """Tell which rows a table itself says to have no scan of a modality; they count all the same."""
    of_cohort: dict[str | None, list[CohortRow]] = {}
    for row in rows:
        of_cohort.setdefault(row.cohort, []).append(row)
    found = []
    for cohort, own in of_cohort.items():
        lacking: dict[str, list[str]] = {}
        for row in own:
            for column in row.lacking:
                lacking.setdefault(column, []).append(row.subject)
        where = f"{len(own)} rows" + (f" of {cohort}" if cohort else "")
        found += [PartitionWarning("scan-missing", (
            f"{column} is empty, n/a, 0 or no in {len(ids)} of {where}: {first_of(ids)}; rows are "
            "counted, so there are fewer scans than that")) for column, ids in lacking.items()]
    return found


def alike_spellings(rows: Iterable[CohortRow]) -> list[PartitionWarning]:
    """Propose to merge sites that are spelled alike; nothing is merged."""
    alike: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        key = (row.cohort or "", site_key(str(row.site)))
        alike.setdefault(key, Counter())[str(row.site)] += 1
    return [PartitionWarning("site-spelling", " = ".join(repr(name) for name in sorted(names))
                             + ": perhaps one site; give both one name in `site: codes:`")
            for _, names in sorted(alike.items()) if len(names) > 1]


def travellers(away: Mapping[str, int], num_rows: int, unit: str) -> list[PartitionWarning]:
    """Tell who was scanned at several sites, and what is left out for it.

    Args:
        away: By subject, how many scans are left out.
        num_rows: Of all scans that tell a site.
        unit: What is counted: scans, or rows.
    """
    if not away:
        return []
    return [PartitionWarning(
        "travelling-subject", f"{len(away)} subjects were scanned at several sites: "
        f"{first_of(sorted(away))}; {sum(away.values())} of {num_rows} {unit} are left out so that "
        "nobody is at two sites")]
