"""What differs between sites, as a table: cells for a file, and rows for people to read."""

import csv
import io
from collections.abc import Mapping

from braing3n.listing import first_of
from simulation.partition.groups import LABELS, OF_SCANS, UNKNOWN, Differences, Group, age_summary
from simulation.partition.skew import largest_share

Cell = str | int | float | None
_NOT_KNOWN = "n/a"
_SHOWN = 4


def differences_tsv(found: Differences) -> str:
    """Return one row a site and one of all, tab-separated; `n/a` is what is not known."""
    rows = [_cells(group, found) for group in (*found.groups, found.pool)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[-1]), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _as_text(cell) for name, cell in row.items()} for row in rows)
    return stream.getvalue()


def _as_text(cell: Cell) -> str:
    if cell is None:
        return "n/a"
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _cells(group: Group, found: Differences) -> dict[str, Cell]:
    """Return a row; all rows have the same columns in the same order."""
    row: dict[str, Cell] = {"site": group.name, "num_subjects": group.num_subjects,
                            "num_volumes": group.num_volumes}
    row |= {f"age_{name}": value for name, value in age_summary(group).items()}
    for variable in ("sex", "diagnosis", *OF_SCANS):
        row |= {f"{variable}_{name}": group.counts[variable].get(name, 0)
                for name in found.pool.counts[variable]}
        row[f"{variable}_{UNKNOWN}"] = group.num_unknown(variable)
    shift = found.shifts.get(group.name)
    row |= {f"jensen_shannon_{label}": shift.jensen_shannon[label] if shift else None
            for label in LABELS}
    row["earth_movers_age_years"] = shift.age_years if shift else None
    row |= {f"largest_share_{label}": largest_share(group.counts[label]) for label in LABELS}
    for modality, profiles in (found.intensities.profiles if found.intensities else {}).items():
        profile = profiles.get(group.name)
        row[f"intensity_wasserstein_{modality}"] = profile.distance if profile else None
    return row


def people_rows(found: Differences) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of who is where, in words; columns that say nothing are left out."""
    header = ["site", "subjects", found.unit, "age, years: mean ± SD (range)"]
    shown = [name for name in ("sex", "diagnosis", *OF_SCANS) if found.pool.counts[name]]
    rows = [[group.name, str(group.num_subjects), str(group.num_volumes), _ages(group),
             *(_counts(group, name) for name in shown)] for group in (*found.groups, found.pool)]
    return header + [name.replace("_", " ") for name in shown], rows


def shift_rows(found: Differences) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of how far each site is from all sites together."""
    profiles = found.intensities.profiles if found.intensities else {}
    header = ["site", *(f"{label.replace('_', ' ')} (JSD)" for label in LABELS), "age (EMD, years)",
              *(f"greys {modality} (W1, SD)" for modality in profiles)]
    rows = []
    for group in found.groups:
        shift = found.shifts[group.name]
        distances = [of_site[group.name].distance if group.name in of_site else None
                     for of_site in profiles.values()]
        rows.append([group.name, *(_number(shift.jensen_shannon[label]) for label in LABELS),
                     _number(shift.age_years, 1), *(_number(one, 3) for one in distances)])
    return header, rows


def abbreviations(found: Differences) -> str:
    """Return what the headings of `shift_rows` stand for."""
    greys = found.intensities and found.intensities.profiles
    return ("JSD: Jensen-Shannon distance to all sites, 0 to 1. EMD: earth mover's distance of ages "
            "to all sites." + (" W1: Wasserstein-1 distance of grey values to the other sites, in "
                               "standard deviations." if greys else ""))


def sentences(found: Differences) -> list[str]:
    """Return what is to be said beside the tables: what the site tells, and what is not known."""
    told = [f"site and {label.replace('_', ' ')}: normalised mutual information {one.nmi:.2f}, less "
            f"chance {one.ami:.2f} ({one.num_subjects} subjects)"
            for label, one in found.associations.items() if one is not None]
    lacking = [name.replace("_", " ") for name in ("diagnosis", "sex", *OF_SCANS)
               if not found.pool.counts[name]]
    lacking += [] if found.pool.ages else ["age"]
    refused = found.intensities.refused if found.intensities else {}
    return [*told, *([f"not known of anybody: {', '.join(lacking)}"] if lacking else []),
            *(f"grey values of {site}: {count} scans could not be used, the first: {why}"
              for site, (count, why) in refused.items())]


def _number(value: float | None, digits: int = 2) -> str:
    return _NOT_KNOWN if value is None else f"{value:.{digits}f}"


def _ages(group: Group) -> str:
    age = age_summary(group)
    if age["mean_years"] is None:
        return _NOT_KNOWN
    missing = group.num_subjects - len(group.ages)
    return (f"{_number(age['mean_years'], 1)} ± {_number(age['sd_years'], 1)} "
            f"({_number(age['min_years'], 0)} to {_number(age['max_years'], 0)})"
            + (f", {missing} unknown" if missing else ""))


def _counts(group: Group, variable: str) -> str:
    counts: Mapping[str, int] = group.counts[variable]
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = first_of([f"{name} {count}" for name, count in ordered], _SHOWN)
    unknown = group.num_unknown(variable)
    return ", ".join(filter(None, [words, f"unknown {unknown}" if unknown else ""])) or _NOT_KNOWN
