"""The picture of a table of probes: each task's main metric, with its interval, by encoder."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from braing3n.files import replacing
from braing3n.pages import COLOURS, png
from braing3n.probing.table import NO_WEIGHTS, ProbeTable

_CHANCE = {"auc": 0.5, "auc_within_sites": 0.5, "r2": 0.0, "c_index": 0.5}
# A figure's colour, and its baseline's.
_COLOUR, _BASELINE_COLOUR = COLOURS[0], COLOURS[-1]
_PANEL_INCHES = (3.6, 0.34)
_ACROSS = 3


def write_picture(table: ProbeTable, path: Path) -> None:
    """Write a PNG with a panel for each task.

    Raises:
        OSError: It cannot be written.
    """
    across = min(_ACROSS, len(table.tasks))
    down = -(-len(table.tasks) // across)
    height = _PANEL_INCHES[1] * (len(table.encoders) + 3) * down
    figure = Figure(figsize=(_PANEL_INCHES[0] * across + 1, height + 0.4), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel in panels[len(table.tasks):]:
        panel.set_visible(False)
    for panel, name in zip(panels, table.tasks, strict=False):
        _draw(panel, table, name)
    figure.supxlabel(f"{table.split}; 95 % intervals over resampled subjects", fontsize=8)
    with replacing(path) as part:
        part.write_bytes(png(figure, 140))


def _draw(panel: Axes, table: ProbeTable, task: str) -> None:
    """Draw one task: a row an encoder, the best on its own scale, chance as a line."""
    metric = ""
    for height, row in enumerate(table.encoders):
        result = table.results.get((task, row.name))
        one = None if result is None else result.main
        if result is None or one is None or one.value is None:
            panel.annotate(NO_WEIGHTS if one is None else one.reason or "", (0.02, height),
                           xycoords=("axes fraction", "data"), va="center", fontsize=7)
            continue
        metric = result.main_metric
        colour = _BASELINE_COLOUR if row.name in ("thumbnail", "random") else _COLOUR
        if one.low is not None and one.high is not None:
            panel.plot((one.low, one.high), (height, height), color=colour)
        panel.plot(one.value, height, "o", color=colour)
    if metric in _CHANCE:
        panel.axvline(_CHANCE[metric], color=_BASELINE_COLOUR, linewidth=0.8, linestyle=":")
    panel.set_yticks(range(len(table.encoders)), [row.name for row in table.encoders], fontsize=8)
    panel.set_ylim(len(table.encoders) - 0.5, -0.5)
    panel.set_title(task, fontsize=9)
    panel.set_xlabel(metric or "not defined", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
