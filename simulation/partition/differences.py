"""What differs between the sites of a partition: people, scanners, labels, grey values."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from braing3n.data.splits import strata_of
from simulation.cohorts.row import CohortRow
from simulation.partition.groups import LABELS, POOL, UNKNOWN, Differences, Group, Shift
from simulation.partition.parts import Partition
from simulation.partition.profiles import Intensities
from simulation.partition.skew import (
    Association,
    associate,
    earth_movers,
    jensen_shannon,
    largest_share,
)


def find_differences(done: Partition, intensities: Intensities | None = None) -> Differences:
    """Return what differs between the sites of a partition.

    Args:
        done: The partition.
        intensities: What `compare_intensities` has found.
    """
    groups = tuple(_group(site.name, site.rows) for site in done.sites)
    pool = _group(POOL, [row for site in done.sites for row in site.rows])
    shifts = {group.name: Shift(
        {label: jensen_shannon(group.counts[label], pool.counts[label]) for label in LABELS},
        earth_movers(group.ages, pool.ages),
        {label: largest_share(group.counts[label]) for label in LABELS}) for group in groups}
    return Differences(groups, pool, shifts,
                       {label: _association(groups, label) for label in LABELS}, intensities, done.unit)


def _group(name: str, rows: Sequence[CohortRow]) -> Group:
    people = strata_of((row.subject, row.conditions) for row in rows)
    ages: dict[str, float] = {}
    for row in rows:
        age = row.conditions.age_years
        if age is not None:
            ages[row.subject] = min(age, ages.get(row.subject, age))
    counts = {label: _counted(stratum[place] for stratum in people.values())
              for place, label in ((0, "diagnosis"), (1, "sex"), (2, "age_band"))}
    for variable in ("modality", "field_strength"):
        counts[variable] = _counted(getattr(row.conditions, variable) for row in rows)
    counts["scanner"] = _counted(row.scanner for row in rows)
    return Group(name, len(people), len(rows), tuple(sorted(ages.values())), counts)


def _counted(said: Any) -> dict[str, int]:  # of texts; None, and `sex unknown` of a stratum, count not
    counts = Counter(one for one in said if one is not None and not one.endswith(UNKNOWN))
    return {name: counts[name] for name in sorted(counts)}


def _association(groups: Sequence[Group], label: str) -> Association | None:
    pairs = [(group.name, name) for group in groups
             for name, count in group.counts[label].items() for _ in range(count)]
    return associate([site for site, _ in pairs], [name for _, name in pairs])
