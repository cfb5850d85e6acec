"""What differs between sites, as one picture: a row a site, a column a question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from braing3n.pages import COLOURS, png
from simulation.partition.groups import LABELS, Differences, Group
from simulation.partition.profiles import EDGES, Profile
from simulation.partition.shares import (
    draw_shares,
    is_drawn,
    legend_below,
    num_classes,
)

_DPI = 200
_ROW_INCHES = (0.26, 0.44)  # of a site, where there are many and few
_TOP_INCHES, _LABEL_INCHES, _GAP_INCHES = 0.3, 0.68, 0.2
_SHARES = ("sex", "diagnosis", "modality", "field_strength", "scanner")
_MAX_NAME = 40
_MAX_DENSITIES = 2          # modalities with a panel of their own
_BLUE, _SOFT = COLOURS[0], "#6b6b6b"
_MARKS = {"diagnosis": ("o", COLOURS[1]), "sex": ("s", COLOURS[0]), "age_band": ("^", COLOURS[2])}

Draw = Callable[[Axes], None]


@dataclass(frozen=True)
class _Panel:
    """One column: its title, its width in inches, and what draws it."""

    title: str
    inches: float
    draw: Draw


def draw_differences(found: Differences) -> bytes:
    """Draw a PNG for a page or a paper: who is at which site, and how far it is from the others.

    A variable that nobody is known to have, or that all have alike, gets no column.

    Args:
        found: Of at least one site.
    """
    rows = [*found.groups, found.pool]
    panels = _panels(found, rows)
    widths = [panel.inches for panel in panels]
    height = len(rows) * float(np.interp(len(rows), (4, 14), _ROW_INCHES[::-1]))
    left = min(max(len(row.name) for row in rows), _MAX_NAME) * 0.068 + 0.15
    bottom = _LABEL_INCHES + 0.145 * max(3, *(num_classes(found.pool, name) for name in _SHARES))
    total = (left + sum(widths) + _GAP_INCHES * len(widths), _TOP_INCHES + height + bottom)
    figure = Figure(figsize=total)
    # In inches, so that rows and legends are as high in every picture.
    places = {"left": left / total[0], "right": 1 - _GAP_INCHES / total[0],
              "top": 1 - _TOP_INCHES / total[1], "bottom": bottom / total[1],
              "wspace": _GAP_INCHES / float(np.mean(widths))}
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=widths,
                           gridspec_kw=places)[0]
    for axes, panel in zip(grid, panels, strict=True):
        axes.set_title(panel.title, fontsize=9, loc="left", fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, left=False)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.axhline(len(rows) - 1.5, color=_SOFT, linewidth=0.6)
        panel.draw(axes)
    grid[0].set_yticks(range(len(rows)), [_short(row.name) for row in rows])
    return png(figure, _DPI)


def _panels(found: Differences, rows: Sequence[Group]) -> list[_Panel]:
    panels = [_Panel("People", 1.3, partial(_draw_numbers, rows=rows, unit=found.unit))]
    if found.pool.ages:
        panels.append(_Panel("Age", 1.7, partial(_draw_ages, rows=rows)))
    panels += [_Panel(variable.replace("_", " ").capitalize(), 1.2,
                      partial(draw_shares, rows=rows, variable=variable, unit=found.unit))
               for variable in _SHARES
               if is_drawn(found.pool, variable)]
    if len(found.groups) > 1 and any(found.pool.counts[label] for label in LABELS):
        panels.append(_Panel("Label shift", 1.5, partial(_draw_shift, found=found)))
    profiles = found.intensities.profiles if found.intensities else {}
    widest = sorted(profiles, key=lambda name: -sum(one.num_scans for one in profiles[name].values()))
    return panels + [_Panel(f"Grey values, {modality}", 1.55,
                            partial(_draw_densities, rows=rows, profiles=profiles[modality]))
                     for modality in widest[:_MAX_DENSITIES]]


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 2] + " …"


def _draw_numbers(axes: Axes, rows: Sequence[Group], unit: str) -> None:
    """Draw the subjects of each site as a bar; of all together, in numbers alone."""
    sites, places = rows[:-1], range(len(rows) - 1)
    axes.barh(places, [site.num_subjects for site in sites], color=_BLUE, height=0.62)
    for place, row in enumerate(rows):
        text = f" {row.num_subjects} ({row.num_volumes})"
        axes.text(row.num_subjects if row in sites else 0, place, text, va="center", fontsize=7.5)
    axes.set_xlim(0, max(1, *(site.num_subjects for site in sites)) * 1.75)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_xlabel(f"subjects ({unit})", fontsize=8)


def _draw_ages(axes: Axes, rows: Sequence[Group]) -> None:
    """Draw quartiles and range; of few, every age besides."""
    known = [(place, row.ages) for place, row in enumerate(rows) if row.ages]
    axes.boxplot([ages for _, ages in known], positions=[place for place, _ in known], widths=0.55,
                 orientation="horizontal", whis=(0, 100), manage_ticks=False, patch_artist=True,
                 boxprops={"facecolor": "#cfe3f1", "edgecolor": _BLUE, "linewidth": 0.8},
                 medianprops={"color": COLOURS[1], "linewidth": 1.6},
                 whiskerprops={"color": _BLUE, "linewidth": 0.8},
                 capprops={"color": _BLUE, "linewidth": 0.8})
    axes.axvline(float(np.median(rows[-1].ages)), color=_SOFT, linewidth=0.7, linestyle=":", zorder=0)
    low, high = min(rows[-1].ages), max(rows[-1].ages)
    margin = max(high - low, 1) * 0.06
    lacking = [row.num_subjects - len(row.ages) for row in rows]
    room = max(high - low, 1) * 0.34 if any(lacking) else 0
    axes.set_xlim(low - margin, high + margin + room)
    for place, (row, number) in enumerate(zip(rows, lacking, strict=True)):
        if number:
            axes.text(high + margin + room, place, f"{number} n/a" if row.ages else "not known",
                      va="center", ha="right", fontsize=7, color=_SOFT)
    ticks = MaxNLocator(4, integer=True).tick_values(low, high)
    axes.set_xticks([tick for tick in ticks if low - margin <= tick <= high + margin])
    axes.set_xlabel("years: median,\nquartiles, range", fontsize=8)


def _draw_shift(axes: Axes, found: Differences) -> None:
    """Draw each site's Jensen-Shannon distance to all sites, a mark for each label."""
    highest = 0.0
    labels = [label for label in LABELS if found.pool.counts[label]]
    for label in labels:
        marker, colour = _MARKS[label]
        points = [(found.shifts[group.name].jensen_shannon[label], place)
                  for place, group in enumerate(found.groups)]
        known = [(value, place) for value, place in points if value is not None]
        axes.plot([value for value, _ in known], [place for _, place in known], linestyle="",
                  marker=marker, markersize=4.5, color=colour, markeredgecolor="white",
                  markeredgewidth=0.4, label=label.replace("_", " "), clip_on=False)
        highest = max([highest, *(value for value, _ in known)])
    axes.set_xlim(0, min(1.0, max(0.2, highest * 1.15)))
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("Jensen-Shannon\ndistance to all (0 to 1)", fontsize=8)
    legend_below(axes, *axes.get_legend_handles_labels())


def _draw_densities(axes: Axes, rows: Sequence[Group], profiles: Mapping[str, Profile]) -> None:
    """Draw each site's density over the mean of all sites' (grey), with its distance in numbers."""
    centres = (EDGES[1:] + EDGES[:-1]) / 2
    smooth = {name: _smooth(profile.density) for name, profile in profiles.items()}
    mean = np.mean(list(smooth.values()), axis=0)
    top = max(float(one.max()) for one in smooth.values())
    for place, row in enumerate(rows):
        base, curve = place + 0.38, smooth.get(row.name)
        if row is rows[-1]:
            axes.fill_between(centres, base, base - 0.85 * mean / top, color=_SOFT, alpha=0.5,
                              linewidth=0)
            continue
        if curve is None:
            axes.text(3.0, place, "none read", va="center", ha="right", fontsize=7, color=_SOFT)
            continue
        axes.fill_between(centres, base, base - 0.85 * mean / top, color="#d9d9d9", linewidth=0)
        axes.plot(centres, base - 0.85 * curve / top, color=_BLUE, linewidth=1.0)
        distance = profiles[row.name].distance
        if distance is not None:
            axes.text(5.0, place, f"{distance:.2f}", va="center", ha="right", fontsize=7.5)
    axes.set_xlim(-3.5, 5.1)
    axes.set_xlabel("z-score in the brain; right:\ndistance to others (SD)", fontsize=8)
    legend_below(axes, [Patch(facecolor="none", edgecolor=_BLUE), Patch(facecolor="#d9d9d9")],
                 ["site", "mean of sites"])


def _smooth(density: np.ndarray) -> np.ndarray:
    """Return the density as means of four bins at each: 0.1 standard deviations."""
    return np.convolve(density, np.ones(4) / 4, mode="same")
