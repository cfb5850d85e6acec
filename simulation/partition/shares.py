"""Columns of the picture that show shares: sexes, diagnoses, scanners of each site."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from braing3n.pages import COLOURS
from simulation.partition.groups import OF_SCANS, UNKNOWN, Group

_MAX_CLASSES = 7
_OTHERS = "others"
_LEGEND_BELOW_INCHES = 0.6


def is_drawn(pool: Group, variable: str) -> bool:
    """Tell whether a variable differs between anybody: it has two classes, or one and unknown."""
    counts = pool.counts[variable]
    return len(counts) > 1 or (len(counts) == 1 and pool.num_unknown(variable) > 0)


def num_classes(pool: Group, variable: str) -> int:
    """Return how many lines a variable's legend has."""
    return min(len(pool.counts[variable]), _MAX_CLASSES) + (pool.num_unknown(variable) > 0)


def draw_shares(axes: Axes, rows: Sequence[Group], variable: str, unit: str) -> None:
    """Draw a bar a row, of the shares of each class; the most frequent class of all comes first.

    Args:
        axes: Where.
        rows: The sites, and all of them together as the last.
        variable: One of a group's counts.
        unit: What its volumes are: scans, or rows.
    """
    pool = rows[-1].counts[variable]
    ordered = sorted(pool, key=lambda name: (-pool[name], name))
    named = ordered if len(ordered) <= _MAX_CLASSES else ordered[: _MAX_CLASSES - 1]
    rest = ordered[len(named):]
    left = [0.0] * len(rows)
    handles, labels = list[Patch](), list[str]()
    classes = [(name, [name], {"color": COLOURS[number]}) for number, name in enumerate(named)]
    styles: list[tuple[str, list[str], dict[str, Any]]] = [*classes]
    if rest:
        styles.append((f"{len(rest)} {_OTHERS}", rest, {"color": COLOURS[-1]}))
    for label, names, style in styles:
        shares = [_share(row, variable, sum(row.counts[variable].get(name, 0) for name in names))
                  for row in rows]
        axes.barh(range(len(rows)), shares, left=left, height=0.62, edgecolor="white", linewidth=0.5,
                  **style)
        left = [before + share for before, share in zip(left, shares, strict=True)]
        handles.append(Patch(**style))
        labels.append(label)
    unknown = [_share(row, variable, row.num_unknown(variable)) for row in rows]
    if any(unknown):
        style = {"facecolor": "white", "edgecolor": "#8a8a8a", "hatch": "/////", "linewidth": 0.4}
        axes.barh(range(len(rows)), unknown, left=left, height=0.62, **style)
        handles.append(Patch(**style))
        labels.append(UNKNOWN)
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 50, 100])
    axes.set_xlabel(f"% of {unit if variable in OF_SCANS else 'subjects'}", fontsize=8)
    legend_below(axes, handles, labels)


def legend_below(axes: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put a legend below the axis' own label, at the same place in pictures of any height."""
    height = axes.bbox.height / axes.figure.dpi  # in inches
    axes.legend(handles, labels, loc="upper left", fontsize=7, frameon=False, handlelength=1.1,
                handletextpad=0.5, labelspacing=0.25, borderpad=0, borderaxespad=0,
                bbox_to_anchor=(0, -_LEGEND_BELOW_INCHES / height))


def _share(row: Group, variable: str, count: int) -> float:
    total = row.num_volumes if variable in OF_SCANS else row.num_subjects
    return 100 * count / total if total else 0.0
