"""A comparison as one HTML file: it needs no network, no script and no other file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from braing3n.files import write_text
from braing3n.pages import data_uri, page_template
from simulation.compare import charts
from simulation.compare.arms import FEDERATED, LOCAL, POOLED, SINGLE, UNSEEN
from simulation.compare.differences import LESS_IS_BETTER, Difference
from simulation.compare.outcome import Comparison
from simulation.compare.results import Main, Result
from simulation.compare.verdict import UNITS, ahead, interval, who_won

_BESIDE = (LOCAL, FEDERATED, POOLED)


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: What is measured, or where.
        unit: How.
        cells: Each contestant's figure as text.
        best: The places of the best figures.
    """

    name: str
    unit: str
    cells: tuple[str, ...]
    best: frozenset[int]


def write_page(done: Comparison, out: Path) -> Path:
    """Write `compare.html` and return its path."""
    contestants = contestants_of(done)
    html = page_template(Path(__file__).parent / "compare.html.j2").render(
        plan=done.plan, verdict=done.verdict, contestants=contestants, people=done.num_held_out,
        about=done.about, sizes=done.sizes,
        rows=table_rows(done, contestants), beside=_BESIDE,
        sites=[(main.measure, UNITS[_at_site(main.metric)],
                _site_rows(done, main.measure, _at_site(main.metric))) for main in done.mains],
        pictures=[_pictures(done, main, contestants) for main in done.mains],
        arms=[(arm.name, arm.kind, ", ".join(arm.sites), f"{seconds:.0f}", arm.sweep)
              for arm, seconds in done.arms.items()],
        told=[(main.measure, f"{main.told_by_site:.2f}") for main in done.mains
              if main.told_by_site is not None],
        shift=done.shift, shift_picture=data_uri(done.shift.picture),
        left_out=done.left_out, notes=done.notes, text=done.plan.canonical(),
        differences=[_difference(one) for one in done.differences if one.p_adjusted is not None],
    )
    path = out / "compare.html"
    write_text(path, html)
    return path


def _pictures(done: Comparison, main: Main, contestants: Sequence[str]) -> tuple[str, str, str]:
    """Return a measure's name, and pictures of its figures over all sites and at each."""
    at_sites = _beside(done, main.measure, _at_site(main.metric))
    return (main.measure, data_uri(charts.forest(_of(done, main.measure, main.metric, contestants))),
            data_uri(charts.per_site(at_sites, _BESIDE)))


def _difference(one: Difference) -> tuple[str, ...]:
    """Return a line of the table of differences."""
    return (f"{one.measure} ({UNITS.get(one.metric, one.metric)})", one.against,
            f"{one.num_subjects}", ahead(one), "n/a" if one.share is None else f"{one.share:.0%}",
            "n/a" if one.p_adjusted is None else f"{one.p_adjusted:.3f}", who_won(one),
            "overlap" if one.do_intervals_overlap else "do not overlap")


def contestants_of(done: Comparison) -> tuple[str, ...]:
    """Return who is in the tables: the best single site in place of all single sites."""
    names = list(dict.fromkeys(one.contestant for one in done.results))
    first = [name for name in (LOCAL, FEDERATED, POOLED, UNSEEN) if name in names]
    rest = [name for name in names if name not in first and not name.startswith(SINGLE)]
    return (*first[:1], "best single site", *first[1:], *rest)


def table_rows(done: Comparison, contestants: Sequence[str]) -> list[Row]:
    """Return a line for each metric of each measure, over all sites."""
    metrics = dict.fromkeys((one.measure, one.metric) for one in done.results
                            if one.value is not None)
    arrow = {metric: "↓" if metric in LESS_IS_BETTER else "↑" for _, metric in metrics}
    return [_row(name, f"{UNITS.get(metric, metric)} {arrow[metric]}",
                 _of(done, name, metric, contestants), metric) for name, metric in metrics]


def _of(done: Comparison, measure: str, metric: str, contestants: Sequence[str]) -> list[Result]:
    """Return one metric's figures over all sites in the order of the contestants."""
    whole = {one.contestant: one for one in done.results
             if (one.measure, one.metric, one.site) == (measure, metric, None)}
    sign = -1 if metric in LESS_IS_BETTER else 1
    singles = [one for name, one in whole.items()
               if name.startswith(SINGLE) and one.value is not None]
    if singles:
        whole["best single site"] = max(singles, key=lambda one: sign * (one.value or 0.0))
    nothing = Result(measure, metric, "", None, None, None, None, 0, 0)
    return [whole.get(name, nothing) for name in contestants]


def _at_site(metric: str) -> str:
    """Return what a measure is shown by at single sites: nine ages are too alike for an R²."""
    return "mae" if metric == "r2" else metric


def _beside(done: Comparison, measure: str, metric: str) -> list[Result]:
    """Return the figures of single sites, of those that are set beside each other."""
    return [one for one in done.results if (one.measure, one.metric) == (measure, metric)
            and one.site is not None and one.contestant in _BESIDE]


def _row(name: str, unit: str, found: Sequence[Result], metric: str) -> Row:
    sign = -1 if metric in LESS_IS_BETTER else 1
    values = [sign * one.value for one in found if one.value is not None]
    best = frozenset(place for place, one in enumerate(found)
                     if one.value is not None and sign * one.value == max(values))
    return Row(name, unit, tuple(interval(one) for one in found), best)


def _site_rows(done: Comparison, measure: str, metric: str) -> list[Row]:
    """Return a line a site: the federation between the site's own model and pooled training."""
    here = _beside(done, measure, metric)
    rows = []
    for site in sorted({str(one.site) for one in here}):
        by_name = {one.contestant: one for one in here if one.site == site}
        nothing = Result(measure, metric, "", site, None, None, None, 0, 0)
        found = [by_name.get(name, nothing) for name in _BESIDE]
        people = max(one.num_subjects for one in found)
        rows.append(_row(site, f"{people}", found, metric))
    return rows
