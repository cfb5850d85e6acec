"""The comparison's pictures, as PNG bytes."""

from collections.abc import Sequence
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from braing3n.pages import COLOURS, png
from simulation.compare.arms import FEDERATED, LOCAL, POOLED, UNSEEN
from simulation.compare.differences import LESS_IS_BETTER
from simulation.compare.results import Result
from simulation.compare.verdict import UNITS

_DPI = 140
_WIDTH_INCHES = 4.6
_ROW_INCHES = 0.27
_SOFT = "#59636e"
# The same in every picture; all others are grey.
_STYLES = MappingProxyType({
    FEDERATED: (COLOURS[0], "s"), LOCAL: (COLOURS[1], "o"), POOLED: (COLOURS[2], "^"),
    UNSEEN: (COLOURS[3], "D"),
})


def forest(results: Sequence[Result]) -> bytes:
    """Draw one measure: a row a contestant, its figure over all sites and the 95 % interval.

    Args:
        results: Of one metric, over all sites, in the order of the rows from the top.
    """
    shown = [one for one in results if one.value is not None]
    figure = Figure(figsize=(_WIDTH_INCHES, 0.75 + _ROW_INCHES * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(shown):
        _point(axes, one, row, *_STYLES.get(one.contestant, (_SOFT, "o")))
    axes.set_yticks(range(len(shown)), [one.contestant for one in shown])
    axes.invert_yaxis()
    _finish(axes, shown[0].metric if shown else "")
    return png(figure, _DPI)


def per_site(results: Sequence[Result], contestants: Sequence[str]) -> bytes:
    """Draw one measure: a row a site, the contestants beside each other.

    Args:
        results: Of one metric, of single sites.
        contestants: Who is shown; each has a colour of its own.
    """
    shown = [one for one in results if one.value is not None]
    sites = sorted({str(one.site) for one in shown})
    figure = Figure(figsize=(_WIDTH_INCHES, 1.0 + 1.6 * _ROW_INCHES * len(sites)),
                    layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(contestants):
        offset = (number - (len(contestants) - 1) / 2) * 0.22
        colour, marker = _STYLES[name]
        for one in shown:
            if one.contestant == name:
                _point(axes, one, sites.index(str(one.site)) + offset, colour, marker)
        axes.plot([], [], marker, color=colour, label=name)
    people = [max(one.num_subjects for one in shown if one.site == site) for site in sites]
    labels = [f"{site} ({num})" for site, num in zip(sites, people, strict=True)]
    axes.set_yticks(range(len(sites)), labels)
    axes.set_ylabel("site (held-out subjects)")
    axes.invert_yaxis()
    _finish(axes, results[0].metric if results else "")
    figure.legend(loc="outside upper left", ncols=len(contestants), frameon=False, fontsize="small")
    return png(figure, _DPI)


def _point(axes: Axes, one: Result, row: float, colour: str, marker: str) -> None:
    if one.value is None:
        return
    if one.low is not None and one.high is not None:
        axes.plot([one.low, one.high], [row, row], color=colour, linewidth=1.6)
    axes.plot([one.value], [row], marker, color=colour, markersize=5)


def _finish(axes: Axes, metric: str) -> None:
    unit = " (dB)" if metric == "psnr" else ""
    better = "less is better" if metric in LESS_IS_BETTER else "more is better"
    axes.set_xlabel(f"{UNITS.get(metric, metric)}{unit}, 95 % interval\n{better}")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
