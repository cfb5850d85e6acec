"""The report's pictures, as PNG bytes.

Brains are in LPS orientation (X to the left, Y to the back, Z upwards) and are shown in
radiological convention: the patient's right is on the picture's left. Axial slices have the nose
at the top, coronal ones the crown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from braing3n.pages import COLOURS, png
from braing3n.report.picture_files import PICTURE_NAMES, Floats, Generated

View = Literal["axial", "coronal"]

_MARKERS = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"))
BASELINE_COLOUR = "#4D4D4D"

DPI = 140
_SLICE_INCHES = 1.5
# Grey values span these z-scores: almost all of a brain.
_WINDOW = (-2.5, 2.5)
# A generated voxel counts as painted from this distance to the background's 0.
_BACKGROUND = 0.3
# Where a brain in its own bounding box is cut: the lateral ventricles, as share of its height,
# and its middle, as share of its length.
_AXIAL_SHARE = 0.58
_CORONAL_SHARE = 0.5

@dataclass(frozen=True)
class SiteStyle:
    """How one site is drawn, everywhere on the page.

    Attributes:
        colour: As #RRGGBB.
        marker: Matplotlib's name of the marker.
        symbol: The same marker as a character.
    """

    colour: str
    marker: str
    symbol: str


def site_styles(sites: Sequence[str]) -> dict[str, SiteStyle]:
    """Return a style for each site; 35 sites differ in colour or marker."""
    return {
        site: SiteStyle(COLOURS[i % len(COLOURS)],
                        *_MARKERS[i % len(_MARKERS)])
        for i, site in enumerate(sites)
    }


def brain_slices(pictures: Mapping[str, Floats]) -> bytes:
    """Draw one subject's volumes side by side: an axial row and a coronal row.

    Args:
        pictures: (X, Y, Z) each, by the names of `PICTURE_NAMES`; `original` is among them.
            Hidden patches of `masked` are NaN and are drawn in blue.
    """
    names = [name for name in PICTURE_NAMES if name in pictures]
    original = pictures["original"]
    figure = _dark_figure(columns=len(names), rows=2)
    grid = figure.subplots(2, len(names), squeeze=False)
    views: tuple[View, ...] = ("axial", "coronal")
    for row, view in zip(grid, views, strict=True):
        number = slice_number(original, view)
        # What a network paints outside the brain is not scored; leaving it out shows the brain.
        outside = take_slice(original, view, number) == 0
        for axes, name in zip(row, names, strict=True):
            picture = take_slice(pictures[name], view, number)
            _draw_slice(axes, np.where(outside & ~np.isnan(picture), _WINDOW[0], picture))
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name if name != "mae" else "MAE", fontsize=9, color="white")
    return png(figure, DPI)


def generated_grid(generated: Generated) -> bytes:
    """Draw one axial slice of every generated brain: ages as columns, diagnoses as rows."""
    num_ages, num_diagnoses = generated.volumes.shape[:2]
    # One height for all, so that columns can be compared.
    number = slice_number(generated.volumes.mean(axis=(0, 1)), "axial")
    figure = _dark_figure(columns=num_ages, rows=num_diagnoses)
    grid = figure.subplots(num_diagnoses, num_ages, squeeze=False)
    for j, row in enumerate(grid):
        for i, axes in enumerate(row):
            picture = take_slice(generated.volumes[i, j], "axial", number)
            _draw_slice(axes, np.where(_inside(picture), picture, _WINDOW[0]))
        row[0].set_ylabel(generated.diagnoses[j], color="white", fontsize=9, parse_math=False)
    for axes, age in zip(grid[0], generated.ages, strict=True):
        axes.set_title(f"{age:g} years", color="white", fontsize=9)
    return png(figure, DPI)


def slice_number(volume: Floats, view: View) -> int:
    """Return the slice of (X, Y, Z) `volume` that shows the ventricles."""
    axis, share = (2, _AXIAL_SHARE) if view == "axial" else (1, _CORONAL_SHARE)
    # A background that a network painted is near 0, and most of a brain is not.
    filled = (np.abs(volume) > 0.5).mean(axis=tuple({0, 1, 2} - {axis})) > 0.02
    levels = np.flatnonzero(filled)
    if not len(levels):
        return int(volume.shape[axis] // 2)
    return round(float(levels[0] + share * (levels[-1] - levels[0])))


def take_slice(volume: Floats, view: View, number: int) -> Floats:
    """Return a slice of (X, Y, Z) `volume` in LPS as rows from the top, columns from the left."""
    if view == "axial":
        return volume[:, :, number].T      # rows to the back, columns to the patient's left
    return volume[:, number, ::-1].T       # rows downwards


def _draw_slice(axes: Axes, picture: NDArray[Any]) -> None:
    axes.set_facecolor("#1F3A5F")  # shows where a patch is hidden
    axes.imshow(np.ma.masked_invalid(picture), cmap="gray", vmin=_WINDOW[0], vmax=_WINDOW[1],
                interpolation="bicubic" if max(picture.shape) < 100 else "nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _inside(picture: Floats) -> NDArray[np.bool_]:
    """Tell brain from background in a generated slice, which has no original to tell by.

    What lies between painted voxels, along its row or its column, is brain whatever its value:
    grey matter is near the background's value, and a hole made here would look like a lesion.
    """
    painted = np.abs(picture) > _BACKGROUND
    inside = painted.copy()
    for axis in (0, 1):
        after = np.logical_or.accumulate(painted, axis)
        before = np.flip(np.logical_or.accumulate(np.flip(painted, axis), axis), axis)
        inside |= after & before
    return inside


def _dark_figure(columns: int, rows: int) -> Figure:
    return Figure(figsize=(_SLICE_INCHES * columns + 0.3, _SLICE_INCHES * 1.15 * rows + 0.3),
                  facecolor="black",
                  layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02))
