"""The picture of what sites spent of their privacy, round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from braing3n.pages import png
from braing3n.report.figures import BASELINE_COLOUR, DPI, SiteStyle
from braing3n.report.run_folder import MetricLine, RunRecord

_INCHES = (7.6, 3.0)

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SpendingFigure:
    """What was spent over rounds.

    Attributes:
        image: As PNG.
        legend: A style and the sites that it is of: sites that spent the same share a line.
    """

    image: bytes
    legend: tuple[tuple[SiteStyle, tuple[str, ...]], ...]


def spending_figure(
    record: RunRecord, lines: Sequence[MetricLine], styles: Mapping[str, SiteStyle],
    budget: float | None,
) -> SpendingFigure | None:
    """Draw ε of all that each site had released so far, over rounds of all stages; None without any.

    Args:
        record: The run.
        lines: All lines of metrics.jsonl.
        styles: The styles of the sites.
        budget: ε that the plan lets this run cost a site, as a dashed line.
    """
    curves: dict[Points, list[str]] = {}
    for site in styles:
        points = spending(record, lines, site)
        if points:
            curves.setdefault(points, []).append(site)
    if not curves:
        return None
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    for points, (first, *_) in curves.items():
        axes.plot([x for x, _ in points], [y for _, y in points], color=styles[first].colour,
                  marker=styles[first].marker, markersize=4, linewidth=1.6)
    if budget is not None:
        axes.axhline(budget, linestyle="--", color=BASELINE_COLOUR, linewidth=1.4)
    _mark_stages(axes, record)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("round, over all stages")
    axes.set_ylabel("ε spent so far (no unit)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return SpendingFigure(png(figure, DPI), tuple(
        (styles[sites[0]], tuple(sites)) for sites in curves.values()))


def spending(record: RunRecord, lines: Sequence[MetricLine], site: str) -> Points:
    """Return (round over all stages, ε spent on the cohort after it) of one site.

    What is released after a stage's last round, such as latent moments, is drawn at that round.
    Where a site names no ε, there is no point.
    """
    account = record.privacy_by_site.get(site)
    points: list[tuple[float, float]] = []
    before = 0
    for stage in record.stages:
        told = sorted((line.round, spent) for line in lines
                      if (line.stage, line.site, line.phase) == (stage.name, site, "privacy")
                      and (spent := line.metrics.get("epsilon_total")) is not None)
        own = [(float(before + min(number, stage.rounds)), spent) for number, spent in told]
        last = account.stages.get(stage.name) if account else None
        if own and last is not None and last.epsilon_total is not None:
            own.append((own[-1][0], last.epsilon_total))
        points += own
        before += stage.rounds
    return tuple(dict.fromkeys(points))  # a value that is told again is no new point


def _mark_stages(axes: Axes, record: RunRecord) -> None:
    """Part the stages by thin lines, and name them along the top."""
    end = 0
    for stage in record.stages:
        begin, end = end, end + stage.rounds
        if begin:
            axes.axvline(begin, color=BASELINE_COLOUR, linewidth=0.6, linestyle=":")
        axes.text((begin + end) / 2, 1.02, stage.name, transform=axes.get_xaxis_transform(),
                  ha="center", va="bottom", fontsize=9, color=BASELINE_COLOUR, parse_math=False)
    axes.set_xlim(-0.02 * max(end, 1), 1.02 * max(end, 1))
