"""Charts over all scans of a folder, as PNG bytes: only of what differs between them.

What is the same in all is a sentence, not a chart.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from braing3n.pages import COLOURS, png
from braing3n.preflight.outcome import Facts, VolumeReport

_BLUE, _ORANGE = COLOURS[0], COLOURS[5]
_DPI = 120
_INCHES = (3.8, 2.5)
_MAX_BARS = 8
_BINS = 20


@dataclass(frozen=True)
class Chart:
    """One chart: its title, a PNG, and the same in words."""

    title: str
    png: bytes
    words: str


def cohort_charts(volumes: Sequence[VolumeReport]) -> tuple[list[Chart], list[str]]:
    """Draw what differs between the scans that can be used, and tell what does not.

    Returns:
        Charts, and sentences about what is the same in all. Both are empty without scans.
    """
    usable = [(volume.entry, volume.facts) for volume in volumes if volume.facts is not None]
    facts = [fact for _, fact in usable]
    charts, same = [], []
    for title, values in (
            ("Modality in the file's name", [entry.modality or "not named" for entry, _ in usable]),
            ("Voxel size in mm, shortest edge first", [_voxel_size(fact) for fact in facts]),
            ("Orientation in which voxels are stored", [fact.axes for fact in facts]),
            ("Skull", ["stripped" if fact.is_stripped else "not stripped" for fact in facts])):
        counts = Counter(values)
        if len(counts) == 1:
            same.append(f"{title}: {values[0]}.")
        elif len(counts) > _MAX_BARS and title.startswith("Voxel size"):
            charts.append(_voxel_edges(facts))
        elif counts:
            charts.append(_bars(title, counts))
    if len(facts) > 1:
        charts.append(_background(facts))
    return charts, same


def _voxel_size(facts: Facts) -> str:
    return " x ".join(f"{edge:.3g}" for edge in sorted(facts.voxel_mm))


def _bars(title: str, counts: Counter[str]) -> Chart:
    """Draw a bar for each value, the most frequent on top; rare ones are taken together."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    if len(rows) > _MAX_BARS:
        rest = rows[_MAX_BARS - 1 :]
        rows = [*rows[: _MAX_BARS - 1], (f"{len(rest)} others", sum(count for _, count in rest))]
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([name for name, _ in rows], [count for _, count in rows], color=_BLUE,
                     height=0.65)
    axes.bar_label(bars, padding=3, fontsize=9)
    axes.set_ylim(max(len(rows), 4) - 0.5, -0.5)  # downwards, and few bars are no thicker than many
    axes.margins(x=0.15)
    axes.set_xlabel("scans")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return Chart(title, _png(figure, axes), "; ".join(f"{name}: {count}" for name, count in rows))


def _voxel_edges(facts: Sequence[Facts]) -> Chart:
    """Draw the shortest and the longest edge of voxels whose sizes are too many for bars."""
    shortest, longest = ([choose(fact.voxel_mm) for fact in facts] for choose in (min, max))
    return _histogram("Voxel size in mm", {"shortest edge": shortest, "longest edge": longest},
                      (min(shortest), max(longest)), is_stacked=False)


def _background(facts: Sequence[Facts]) -> Chart:
    """Draw which share of a volume is background of one exact value."""
    kinds = {"stripped": [fact.background_share for fact in facts if fact.is_stripped],
             "not stripped": [fact.background_share for fact in facts if not fact.is_stripped]}
    shares = [fact.background_share for fact in facts]
    limits = (np.floor(min(shares) * 10) / 10, np.ceil(max(shares) * 10 + 1e-9) / 10)
    return _histogram("Share of voxels that are background of one exact value",
                      {name: values for name, values in kinds.items() if values}, limits,
                      is_stacked=True)


def _histogram(title: str, series: dict[str, list[float]], limits: tuple[float, float], *,
               is_stacked: bool) -> Chart:
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    # Hatched besides, for eyes and printers that do not tell the colours apart.
    axes.hist(list(series.values()), _BINS, range=limits, label=list(series), stacked=is_stacked,
              color=[_BLUE, _ORANGE][: len(series)], hatch=["", "///"][: len(series)],
              edgecolor="white", linewidth=0.5)
    axes.set_ylabel("scans")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(frameon=False, fontsize=9)
    words = "; ".join(f"{name}: {len(values)} scans, {min(values):.2g} to {max(values):.2g}, "
                      f"median {np.median(values):.2g}" for name, values in series.items())
    return Chart(title, _png(figure, axes), words)


def _png(figure: Figure, axes: Axes) -> bytes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    return png(figure, _DPI)
