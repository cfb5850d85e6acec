"""What sites spent over time, as numbers and as a picture."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from braing3n.audit.ledger_line import Line
from braing3n.audit.ledger_rules import decisions_of, work_of
from braing3n.audit.recompute import bounds, merged
from braing3n.audit.report.promises import CohortPromise
from braing3n.audit.report.words import Words, number, words
from braing3n.pages import png
from braing3n.report.figures import BASELINE_COLOUR, SiteStyle, site_styles

_INCHES, _DPI = (7.2, 3.2), 160
# Each recomputed point takes an accountant's work: so many of a cohort show its way.
MAX_POINTS = 12
# Limits further up would press the curves to the floor.
_FAR = 3.0


@dataclass(frozen=True)
class Point:
    """What a cohort had cost after the last entry of a stage.

    Attributes:
        entry: The entry.
        time: Its time, as the site's clock had it.
        about: The run and the stage.
        claimed: ε by the site's word there.
        recomputed: ε by all entries up to it; None where there is no number.
        says_claimed: The first as a link.
        says_recomputed: The second as a link.
    """

    entry: int
    time: str
    about: str
    claimed: float
    recomputed: float | None
    says_claimed: Words
    says_recomputed: Words


@dataclass(frozen=True)
class Course:
    """What a cohort of a site has cost over time.

    Attributes:
        site: The site.
        cohort: The cohort.
        claims: (time, ε) at every entry that claims one.
        points: At the ends of stages.
        limits: (time, ε) of what the hospital decided.
        is_cut: Whether it ends where the same patients were trained on without DP.
    """

    site: str
    cohort: str
    claims: tuple[tuple[str, float], ...]
    points: tuple[Point, ...]
    limits: tuple[tuple[str, float], ...]
    is_cut: bool

    @property
    def name(self) -> str:
        """Site and cohort."""
        return f"{self.site}, cohort {self.cohort}"


@dataclass(frozen=True)
class Picture:
    """The picture, and what its lines are.

    Attributes:
        image: PNG.
        legend: The style of each course, by its name.
        far: Limits that are above the picture, by name of the course.
    """

    image: bytes
    legend: tuple[tuple[SiteStyle, str], ...]
    far: tuple[tuple[str, float], ...]


def courses(promised: Iterable[CohortPromise]) -> list[Course]:
    """Return what cohorts have cost over time; nothing for those with no ε from the beginning."""
    found = []
    for one in promised:
        lines = one.ledger.audit.lines
        end = one.void_at if one.void_at is not None else one.ledger.audit.num_entries
        own = [(entry, line) for entry, line in lines
               if entry < end and line.cohort == one.cohort and line.kind in ("reserve", "settle")]
        if own:
            found.append(Course(
                one.ledger.name, one.cohort,
                tuple((line.time, line.spent.pld) for _, line in own if line.spent is not None),
                tuple(_points(own, one)),
                tuple((decision.time, decision.epsilon) for decision in decisions_of(lines)
                      if decision.cohort == one.cohort), one.void_at is not None))
    return found


def picture(drawn: Sequence[Course]) -> Picture | None:
    """Draw ε over time: claims as steps, recomputed ones as rings, decided limits as dashed lines."""
    if not drawn:
        return None
    styles = site_styles([course.name for course in drawn])
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    for course in drawn:
        style = styles[course.name]
        axes.plot(_days(course.claims), [epsilon for _, epsilon in course.claims], color=style.colour,
                  linewidth=1.6, drawstyle="steps-post", alpha=0.9)
        rings = [(point.time, point.recomputed) for point in course.points
                 if point.recomputed is not None]
        axes.plot(_days(rings), [epsilon for _, epsilon in rings], color=style.colour, linestyle="",
                  marker=style.marker, markersize=7, markerfacecolor="none", markeredgewidth=1.4)
    highest = max(epsilon for course in drawn for _, epsilon in course.claims) or 1.0
    far = _draw_limits(axes, drawn, styles, _FAR * highest)
    axes.set_ylim(bottom=0)
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel("time of the ledger's entries (UTC, by the site's own clock)")
    axes.set_ylabel("ε of everything so far")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    legend = tuple((styles[course.name], course.name) for course in drawn)
    return Picture(png(figure, _DPI), legend, far)


def _draw_limits(axes: Axes, drawn: Sequence[Course], styles: Mapping[str, SiteStyle], top: float,
                 ) -> tuple[tuple[str, float], ...]:
    """Draw what was decided, from its entry to the end of all; return what is too far up."""
    end = max(day for course in drawn for day in _days(course.claims))
    alike = len({tuple(epsilon for _, epsilon in course.limits) for course in drawn}) == 1
    far = []
    for course in drawn:
        near = [(time, epsilon) for time, epsilon in course.limits if epsilon <= top]
        far += [(course.name, epsilon) for _, epsilon in course.limits if epsilon > top]
        if near:
            axes.plot([*_days(near), end], [epsilon for _, epsilon in (*near, near[-1])],
                      color=BASELINE_COLOUR if alike else styles[course.name].colour, linestyle="--",
                      linewidth=1.3, drawstyle="steps-post")
    return tuple(far)


def _points(own: Sequence[tuple[int, Line]], one: CohortPromise) -> Iterable[Point]:
    """Give the ends of stages, of each run: the last of them where there are very many."""
    ends = {(line.run, line.stage): entry for entry, line in own}
    lines = dict(own)
    for entry in sorted(ends.values())[-MAX_POINTS:]:
        line = lines[entry]
        if line.spent is None:
            continue
        upto = [(number_, other) for number_, other in own if number_ <= entry]
        steps = merged(work.line.mechanism for work in work_of(upto) if work.line.mechanism is not None)
        found = bounds(steps, line.spent.delta).pld
        yield Point(entry, line.time, f"run {line.run}, {line.stage}", line.spent.pld, found,
                    words(number(line.spent.pld, one.ledger.target(entry))),
                    words(number(found, one.ledger.recompute_id)))


def _days(points: Iterable[tuple[str, float]]) -> list[float]:
    """Return times as matplotlib counts them."""
    return [float(date2num(datetime.fromisoformat(time)))  # type: ignore[no-untyped-call]
            for time, _ in points]
