"""Sites and classes of a table of people: one site in several spellings, groups of one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from braing3n.data.findings import Finding, finding
from braing3n.data.people.covariates import value_of
from braing3n.data.people.names import site_key
from braing3n.data.people.rows import Person
from braing3n.listing import first_of

# In a smaller table, every group is small.
_MIN_SUBJECTS = 5

Groups = Mapping[str, set[str]]


def group_findings(path: Path, people: Sequence[Person]) -> list[Finding]:
    """Look at who is of which site and class; counts of people are not told.

    Args:
        path: The table.
        people: Its rows as read, also those that name no subject.
    """
    sites: dict[str, set[str]] = {}
    classes: dict[str, set[str]] = {}
    for person in people:
        if "site" in person.cells:
            sites.setdefault(person.cells["site"].said, set()).add(person.subject.strip())
        if "diagnosis" in person.cells:
            cell = person.cells["diagnosis"]
            # What is not understood is told elsewhere, and may be anything.
            name = value_of("diagnosis", cell)
            if name is None:
                continue
            classes.setdefault(str(name), set()).add(person.subject.strip())
    found = _spellings(path, sites)
    if len({person.subject.strip() for person in people}) >= _MIN_SUBJECTS:
        small = _single("site", sites) + _single("class", classes) + _one_class(sites, classes)
        found += [finding("cells-small", path, first_of(small))] if small else []
    return found


def _spellings(path: Path, sites: Groups) -> list[Finding]:
    """Find sites that differ in blanks, capitals, marks or a float's `.0` alone."""
    spellings: dict[str, list[str]] = {}
    for site in sites:
        spellings.setdefault(site_key(site), []).append(site)
    alike = [" = ".join(repr(site) for site in sorted(group))
             for group in spellings.values() if len(group) > 1]
    return [finding("site-spelling", path, first_of(sorted(alike)))] if alike else []



def _single(kind: str, groups: Groups) -> list[str]:
    """Return the groups of one, where there are others."""
    if len(groups) < 2:
        return []
    return [f"{kind} {name!r}: a single subject" for name, subjects in sorted(groups.items())
            if len(subjects) == 1]


def _one_class(sites: Groups, classes: Groups) -> list[str]:
    """Return the sites whose subjects are all of one class, where there are several of both."""
    if len(sites) < 2 or len(classes) < 2:
        return []
    found = []
    for site, subjects in sorted(sites.items()):
        here = [name for name, members in classes.items() if members & subjects]
        if len(here) == 1 and len(subjects) > 1:
            found.append(f"site {site!r}: class {here[0]!r} alone")
    return found
