"""A partition as one HTML page: it needs no network, no script and no other file."""

from collections import Counter
from pathlib import Path

from braing3n.pages import data_uri, page_template
from simulation.partition.groups import Differences
from simulation.partition.partitioners import Scheme
from simulation.partition.parts import Partition
from simulation.partition.table import abbreviations, people_rows, sentences, shift_rows


def partition_page(done: Partition, found: Differences, picture: bytes, title: str,
                   scans_per_site: int) -> str:
    """Return the page.

    Args:
        done: Who is at which site.
        found: What differs between them.
        picture: The PNG of `draw_differences`.
        title: What was divided.
        scans_per_site: How many scans of each site and modality were to be read.
    """
    return page_template(Path(__file__).with_name("partition.html.j2")).render(
        title=title, how=in_words(done.scheme), num_sites=len(done.sites),
        num_subjects=found.pool.num_subjects, num_volumes=found.pool.num_volumes,
        unit=found.unit, has_greys=found.intensities is not None,
        picture=data_uri(picture), scans_per_site=scans_per_site, sentences=sentences(found),
        people=people_rows(found), shift=shift_rows(found), abbreviations=abbreviations(found),
        odd=odd_lines(done))


def odd_lines(done: Partition) -> list[str]:
    """Return what was left out, by reason, and the warnings, in words."""
    reasons = Counter[str]()
    for one in done.dropped:
        reasons[one.reason] += one.num_volumes
    return [*(f"left out, {count} {done.unit}: {reason}" for reason, count in reasons.most_common()),
            *(f"{warning.code}: {warning.detail}" for warning in done.warnings)]


def in_words(scheme: Scheme) -> str:
    """Return how a scheme divides people, in words."""
    if scheme.by == "site":
        return "by the site where scans were made"
    if scheme.by == "site-groups":
        return f"by site, {scheme.group_size} sites to a part"
    seed = f"seed {scheme.seed or 0}"
    if scheme.by == "iid":
        return f"at random into {scheme.parts} parts ({seed})"
    return (f"into {scheme.parts} parts that differ in {scheme.variable} "
            f"(Dirichlet, alpha {scheme.alpha:g}, {seed})")
