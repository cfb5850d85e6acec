"""A cohort's scans in parts, by the site where they were made or as a contrast; nobody is in two."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from braing3n.errors import ConfigError
from braing3n.listing import first_of
from simulation.cohorts.row import CohortRow, CohortRows, Unit, unit_of
from simulation.partition.oddities import (
    PartitionWarning,
    alike_spellings,
    missing_scans,
    repeated_ids,
    travellers,
    unknown_sites,
)
from simulation.partition.partitioners import LabelName, Member, Scheme, assign

SmallSites = Literal["keep", "drop", "merge"]
MERGED = "small-sites"
_NO_SITE = "no site is told"
_EXCLUDED = "is left out by the cohort's definition"


@dataclass(frozen=True)
class SitePart:
    """One site of a partition, or one part of a contrast.

    Attributes:
        name: As the cohort spells it; of several cohorts, with the cohort before it.
        rows: Its scans, or rows of people.
    """

    name: str
    rows: tuple[CohortRow, ...]

    @property
    def num_subjects(self) -> int:
        """How many people they are of."""
        return len({row.subject for row in self.rows})


@dataclass(frozen=True)
class Dropped:
    """Why scans of a subject are at no site.

    Attributes:
        subject: Whose they are.
        num_volumes: How many.
        reason: Why.
    """

    subject: str
    num_volumes: int
    reason: str


@dataclass(frozen=True)
class Partition:
    """Who is at which site.

    Attributes:
        sites: By name. A site whose people are all counted elsewhere is there, without rows.
        dropped: Scans that are at none, by subject.
        warnings: What is odd about the cohort's sites.
        scheme: How people were divided.
        unit: What `num_volumes` counts: rows, where no images are behind them.
    """

    sites: tuple[SitePart, ...]
    dropped: tuple[Dropped, ...]
    warnings: tuple[PartitionWarning, ...]
    scheme: Scheme
    unit: Unit = "scans"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "sites": [{"name": site.name, "num_subjects": site.num_subjects,
                       "num_volumes": len(site.rows)} for site in self.sites],
            "dropped": [{"subject": one.subject, "reason": one.reason} for one in self.dropped],
            "warnings": [{"code": one.code, "detail": one.detail} for one in self.warnings],
        }


def partition_cohort(cohort: CohortRows, scheme: Scheme | None = None, *, min_subjects: int = 1,
                     small: SmallSites = "keep") -> Partition:
    """Put every subject into one part.

    A subject of several sites stays where most of its scans were made; of equal ones, where there
    are the fewest people yet, then by name. Its other scans are left out, and said. Contrasts divide
    the same people and scans.

    Args:
        cohort: The rows.
        scheme: How people are divided; None is by site.
        min_subjects: A part of fewer is small.
        small: What becomes of small parts: they stay, are left out, or together make one.

    Raises:
        CohortError: There are fewer subjects than parts.
        ConfigError: The scheme is not as it has to be, or nobody's variable is known.
    """
    scheme = scheme or Scheme()
    scheme.check()
    dropped = Counter((row.subject, _EXCLUDED) for row in cohort.excluded)
    dropped.update((row.subject, _NO_SITE) for row in cohort.rows if row.site is None)
    rows = [row for row in cohort.rows if row.site is not None]
    unit = unit_of((*cohort.rows, *cohort.excluded))
    warnings = [*repeated_ids(cohort.repeated), *missing_scans(cohort.rows),
                *unknown_sites(cohort.rows), *alike_spellings(rows)]
    homes, stay, away = _homes(rows), list[CohortRow](), Counter[str]()
    for row in rows:
        if row.site == homes[row.subject]:
            stay.append(row)
        else:
            away[row.subject] += 1
            dropped[row.subject, f"was also scanned at {homes[row.subject]}, and is counted there"] += 1
    warnings += travellers(away, len(rows), unit)
    parts, small_warnings = _without_small(_parts(stay, rows, scheme), dropped, min_subjects, small)
    return Partition(
        tuple(SitePart(name, tuple(parts[name])) for name in sorted(parts)),
        tuple(Dropped(subject, count, reason) for (subject, reason), count in sorted(dropped.items())),
        (*warnings, *small_warnings), scheme, unit)


def _parts(stay: Sequence[CohortRow], rows: Sequence[CohortRow],
           scheme: Scheme) -> dict[str, list[CohortRow]]:
    """Return the rows of each part; by site, also the sites that nobody stays at."""
    of_subject: dict[str, list[CohortRow]] = {}
    for row in stay:
        of_subject.setdefault(row.subject, []).append(row)
    labels = _labels(of_subject, scheme.variable)
    assigned = assign([Member(subject, str(own[0].site), labels[subject])
                       for subject, own in of_subject.items()], scheme)
    part_of = {subject: name for name, subjects in assigned.items() for subject in subjects}
    parts: dict[str, list[CohortRow]] = {name: [] for name in assigned}
    if scheme.by == "site":
        parts |= {str(row.site): [] for row in rows if row.site not in parts}
    for row in stay:
        parts[part_of[row.subject]].append(row)
    return parts


def _labels(of_subject: Mapping[str, Sequence[CohortRow]],
            variable: LabelName | None) -> dict[str, str]:
    """Return each subject's class of a variable: all that its rows say, such as `T1w+T2w`.

    Raises:
        ConfigError: Nothing is known of anybody.
    """
    if variable is None:
        return dict.fromkeys(of_subject, "")
    said = {subject: {str(value) for row in own for value in (
        row.site if variable == "site" else getattr(row.conditions, variable),) if value is not None}
        for subject, own in of_subject.items()}
    if of_subject and not any(said.values()):
        raise ConfigError(f"no subject's {variable} is known", expected="a variable that is known",
                          found=f"{len(of_subject)} subjects without", fix="name another --variable")
    return {subject: "+".join(sorted(values)) or "unknown" for subject, values in said.items()}


def _homes(rows: Iterable[CohortRow]) -> dict[str, str]:
    """Return each subject's one site: those who have no choice first."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row.subject, Counter())[str(row.site)] += 1
    homes, people = dict[str, str](), Counter[str]()
    for subject in sorted(counts, key=lambda subject: (len(counts[subject]), subject)):
        most = max(counts[subject].values())
        best = [site for site, count in counts[subject].items() if count == most]
        homes[subject] = min(best, key=lambda site: (people[site], site))
        people[homes[subject]] += 1
    return homes


def _without_small(parts: dict[str, list[CohortRow]], dropped: Counter[tuple[str, str]],
                   min_subjects: int, small: SmallSites,
                   ) -> tuple[dict[str, list[CohortRow]], list[PartitionWarning]]:
    """Treat the sites that have too few subjects as the user wants it."""
    few = sorted(name for name, rows in parts.items()
                 if len({row.subject for row in rows}) < min_subjects)
    if not few or small == "keep":
        return parts, [PartitionWarning("small-site", f"fewer than {min_subjects} subjects: "
                                        f"{first_of(few)}")] if few else []
    kept = {name: rows for name, rows in parts.items() if name not in few}
    if small == "merge":
        kept.setdefault(MERGED, []).extend(row for name in few for row in parts[name])
    else:
        for name in few:
            for row in parts[name]:
                dropped[row.subject, f"{name} has fewer than {min_subjects} subjects"] += 1
    what = f"are one site, {MERGED}" if small == "merge" else "are left out"
    return kept, [PartitionWarning("small-site", f"{first_of(few)} {what}: fewer than {min_subjects} "
                                   "subjects each")]
