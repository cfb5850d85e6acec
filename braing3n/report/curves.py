"""What sites reported of a stage over its rounds, as PNG bytes."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from braing3n.pages import png
from braing3n.report.figures import BASELINE_COLOUR, DPI, SiteStyle
from braing3n.report.run_folder import MetricLine

_PANEL_INCHES = (3.8, 2.7)

# What is drawn, the baseline beside it, and the name of the axis.
_PANELS = (
    ("loss", "trivial_loss", "loss (no unit)"),
    ("psnr", "mean_volume_psnr", "PSNR inside the brain (dB)"),
    ("ssim", None, "SSIM inside the brain (no unit)"),
)
_NOISED = "training loss with noise (no unit)"


def curves(lines: Sequence[MetricLine], styles: Mapping[str, SiteStyle],
           noised: Collection[str] = ()) -> dict[str, bytes]:
    """Draw what sites reported of one stage over its rounds: one picture a figure, by axis.

    Full lines with markers are measured on held-out subjects, thin ones in training. The dashed
    line is the trivial baseline, mean over sites. Training losses that left a site with noise are a
    picture of their own: their spread would leave nothing to see of the others.

    Args:
        lines: The stage's lines of metrics.jsonl.
        styles: The styles of the sites.
        noised: The sites that trained the stage with differential privacy.
    """
    noisy = [line for line in lines if line.phase == "train" and line.site in noised]
    exact = [line for line in lines if line.phase != "train" or line.site not in noised]
    pictures = {}
    for score, baseline, label in _PANELS:
        if any(line.metrics.get(score) is not None for line in exact):
            figure = Figure(figsize=_PANEL_INCHES, layout="constrained")
            axes = figure.subplots()
            _draw_curves(axes, exact, styles, score, baseline)
            pictures[label] = _finished(figure, axes, label)
    if noisy:
        figure = Figure(figsize=_PANEL_INCHES, layout="constrained")
        axes = figure.subplots()
        for site, style in styles.items():
            _draw_noised(axes, [line for line in noisy if line.site == site], style)
        pictures[_NOISED] = _finished(figure, axes, _NOISED)
    return pictures


def _finished(figure: Figure, axes: Axes, label: str) -> bytes:
    axes.set_xlim(left=-0.05)
    axes.set_xlabel("round")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure, DPI)


def _draw_curves(axes: Axes, lines: Sequence[MetricLine], styles: Mapping[str, SiteStyle],
                 score: str, baseline: str | None) -> None:
    drawn: list[float] = []
    for site, style in styles.items():
        mine = sorted((line for line in lines if line.site == site), key=lambda line: line.round)
        if score == "loss":
            x, y = _training(mine)
            axes.plot(x, y, color=style.colour, alpha=0.4, linewidth=0.8)
            drawn += y
        x, y = _series([line for line in mine if line.phase == "evaluate"], score)
        axes.plot(x, y, color=style.colour, marker=style.marker, markersize=4, linewidth=1.6)
        drawn += y
    measured = [line for line in lines if line.phase == "evaluate"]
    x, y = _series(measured, baseline) if baseline else ([], [])
    if x:
        rounds = sorted(set(x))
        means = [float(np.mean([v for r, v in zip(x, y, strict=True) if r == round_]))
                 for round_ in rounds]
        axes.plot(rounds, means, linestyle="--", color=BASELINE_COLOUR, linewidth=1.4)
        drawn += means
    if score == "loss" and drawn and min(drawn) > 0 and max(drawn) > 4 * min(drawn):
        axes.set_yscale("log")


def _draw_noised(axes: Axes, lines: Sequence[MetricLine], style: SiteStyle) -> None:
    """Draw losses with noise of one site: of steps thinly, and each round's mean in its middle."""
    ordered = sorted(lines, key=lambda line: line.round)
    x, y = _training(ordered)
    axes.plot(x, y, color=style.colour, alpha=0.4, linewidth=0.8)
    x, y = _series(ordered, "loss")
    axes.plot([round_ - 0.5 for round_ in x], y, color=style.colour, marker=style.marker,
              markersize=4, linewidth=1.6)


def _series(lines: Sequence[MetricLine], score: str) -> tuple[list[float], list[float]]:
    """Return the rounds and values of `score`, where it is a finite number."""
    pairs = [(float(line.round), value) for line in lines
             if (value := line.metrics.get(score)) is not None and np.isfinite(value)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _training(lines: Sequence[MetricLine]) -> tuple[list[float], list[float]]:
    """Return losses along rounds: of steps where a line has them, else of its whole round."""
    x: list[float] = []
    y: list[float] = []
    for line in (line for line in lines if line.phase == "train"):
        losses = line.losses or tuple(_series([line], "loss")[1])
        for step, loss in enumerate(losses, start=1):
            if np.isfinite(loss):
                x.append(line.round - 1 + step / len(losses))
                y.append(loss)
    return x, y
