"""Who and what is at each site, and how far sites are from all: what tables and pictures show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simulation.cohorts.row import Unit
from simulation.partition.profiles import Intensities
from simulation.partition.skew import Association

# What is known of a person, and of a scan.
LABELS = ("diagnosis", "sex", "age_band")
OF_SCANS = ("modality", "field_strength", "scanner")
POOL = "all sites"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Group:
    """Who and what is at one site, or at all.

    Attributes:
        name: The site's.
        num_subjects: People.
        num_volumes: Scans, or rows where there are none.
        ages: In years, of each subject at the first scan with an age.
        counts: By `LABELS` of subjects, as at the first scan that tells it, and by `OF_SCANS` of scans:
            how many of each class, without those of whom it is unknown.
    """

    name: str
    num_subjects: int
    num_volumes: int
    ages: tuple[float, ...]
    counts: Mapping[str, Mapping[str, int]]

    def num_unknown(self, variable: str) -> int:
        """Return of how many subjects, or scans, a variable is unknown."""
        total = self.num_volumes if variable in OF_SCANS else self.num_subjects
        return total - sum(self.counts[variable].values())


@dataclass(frozen=True)
class Shift:
    """How far a site is from the pool of all sites, itself among them; None where nothing is known.

    Attributes:
        jensen_shannon: By label, 0 to 1.
        age_years: The earth mover's distance of ages.
        largest_share: By label, the share of the site's largest class.
    """

    jensen_shannon: Mapping[str, float | None]
    age_years: float | None
    largest_share: Mapping[str, float | None]


@dataclass(frozen=True)
class Differences:
    """What differs between sites.

    Attributes:
        groups: Of each site, in the partition's order.
        pool: Of all sites.
        shifts: By site.
        associations: By label, how much of it the site tells; None where it is one for all.
        intensities: None where no scans were read.
        unit: What `num_volumes` counts.
    """

    groups: tuple[Group, ...]
    pool: Group
    shifts: Mapping[str, Shift]
    associations: Mapping[str, Association | None]
    intensities: Intensities | None = None
    unit: Unit = "scans"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "sites": [_plain(group) | {"shift": asdict(self.shifts[group.name])}
                      | {"intensity": self._intensity(group.name)} for group in self.groups],
            "pool": _plain(self.pool),
            "association_of_site": {label: None if found is None else asdict(found)
                                    for label, found in self.associations.items()},
        }

    def _intensity(self, site: str) -> dict[str, Any]:
        if self.intensities is None:
            return {}
        found = {modality: {"num_scans": profiles[site].num_scans,
                            "wasserstein": profiles[site].distance}
                 for modality, profiles in self.intensities.profiles.items() if site in profiles}
        count, why = self.intensities.refused.get(site, (0, ""))
        return {**found, **({"num_refused": count, "refused_because": why} if count else {})}


def age_summary(group: Group) -> dict[str, float | None]:
    """Return mean, standard deviation (of the sample), range in years, and the share without an age."""
    ages = np.array(group.ages)
    return {
        "mean_years": float(ages.mean()) if len(ages) else None,
        "sd_years": float(ages.std(ddof=1)) if len(ages) > 1 else None,
        "min_years": float(ages.min()) if len(ages) else None,
        "max_years": float(ages.max()) if len(ages) else None,
        "missing_share": 1 - len(ages) / group.num_subjects if group.num_subjects else None,
    }


def _plain(group: Group) -> dict[str, Any]:
    return {"name": group.name, "num_subjects": group.num_subjects, "num_volumes": group.num_volumes,
            "age": age_summary(group),
            **{variable: {**group.counts[variable], UNKNOWN: group.num_unknown(variable)}
               for variable in ("sex", "diagnosis", *OF_SCANS)}}
