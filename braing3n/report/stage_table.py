"""The stages of a run as a table of words: what each took, and what it came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from braing3n.pages import data_uri
from braing3n.report.curves import curves
from braing3n.report.departures import Measured, human_bytes, measured, named
from braing3n.report.figures import SiteStyle
from braing3n.report.privacy_table import sites_with_dp
from braing3n.report.run_folder import MetricLine, RunRecord, StageRecord

# What a figure is called on the page, and its unit; others keep the name that they have.
_METRICS = {
    "loss": ("held-out loss", ""),
    "trivial_loss": ("held-out loss of predicting the mean", ""),
    "psnr": ("PSNR inside the brain", " dB"),
    "mean_volume_psnr": ("PSNR of predicting the mean volume", " dB"),
    "ssim": ("SSIM inside the brain", ""),
}


@dataclass(frozen=True)
class StageRow:
    """One stage as the page shows it, in words.

    `lacking` says whose metrics are not among `metrics`, or carry noise; `curves` are (name of the
    axis, data URI).
    """

    name: str
    rounds: str
    sites: str
    time: str
    bytes_down: str
    bytes_up: str
    bytes_frozen: str
    memory: str
    metrics: tuple[tuple[str, str], ...]
    lacking: str
    curves: tuple[tuple[str, str], ...]


def stage_row(record: RunRecord, stage: StageRecord, lines: Sequence[MetricLine],
              styles: Mapping[str, SiteStyle]) -> StageRow:
    """Return one stage's row.

    Args:
        record: The run.
        stage: Which of its stages.
        lines: All lines of metrics.jsonl.
        styles: The styles of the sites.
    """
    done = len(stage.participation)
    images = curves([line for line in lines if line.stage == stage.name], styles,
                    noised=sites_with_dp(record.privacy_by_site, stage.name))
    return StageRow(
        name=stage.name,
        rounds=f"{done} of {stage.rounds}" if done != stage.rounds else str(done),
        sites=f"{stage.sites_answered} of {stage.sites_asked}",
        time=human_time(stage.seconds),
        bytes_down=human_bytes(stage.bytes_down),
        bytes_up=human_bytes(stage.bytes_up),
        bytes_frozen=human_bytes(stage.bytes_frozen),
        memory=_memory(record, stage),
        metrics=_named(stage.metrics),
        lacking=_lacking(measured(record, stage.name, lines), bool(stage.metrics)),
        curves=tuple((label, data_uri(image)) for label, image in images.items()),
    )


def findings(record: RunRecord, lines: Sequence[MetricLine]) -> list[str]:
    """Return what the figures come to, each next to what costs nothing."""
    found = []
    for stage in record.stages:
        lacking = _lacking(measured(record, stage.name, lines), has_metrics=True)
        note = f" {lacking[0].upper()}{lacking[1:]}." if lacking else ""
        loss, trivial = stage.metrics.get("loss"), stage.metrics.get("trivial_loss")
        if loss is not None and trivial:
            found.append(f"{stage.name}: the held-out loss is {loss / trivial:.2f} times that of "
                         f"predicting the mean (below 1 is better).{note}")
        psnr, mean = stage.metrics.get("psnr"), stage.metrics.get("mean_volume_psnr")
        if psnr is not None and mean is not None:
            found.append(f"{stage.name}: reconstructions are {psnr - mean:+.1f} dB against "
                         f"predicting the mean volume (above 0 is better).{note}")
    return found


def human_time(seconds: float) -> str:
    """Return a duration in words: `1 h 02 min`, `3 min 20 s`, `4.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _named(metrics: Mapping[str, float | None]) -> tuple[tuple[str, str], ...]:
    """Return (name, value with unit) as the page shows them."""
    known = [key for key in _METRICS if key in metrics]
    rows = []
    for key in [*known, *sorted(metrics.keys() - _METRICS.keys())]:
        value = metrics[key]
        name, unit = _METRICS.get(key, (key.replace("_", " "), ""))
        rows.append((name, "not measured" if value is None else f"{value:.3g}{unit}"))
    return tuple(rows)


def _lacking(of: Measured, has_metrics: bool) -> str:
    """Return in words whose metrics are withheld, and whose carry noise."""
    parts = []
    if of.is_all and not has_metrics:
        parts.append("withheld by sites with differential privacy")
    elif of.withheld:
        parts.append(f"not counting {named(of.withheld)} (withheld)")
    elif not has_metrics:
        parts.append("not measured")
    if of.noised:
        parts.append(f"with noise, and so off by some of it, at {named(of.noised)}")
    return "; ".join(parts)


def _memory(record: RunRecord, stage: StageRecord) -> str:
    """Return the largest memory of programs in words; sites with a budget tell nothing of theirs."""
    withholding = [site for site, account in record.privacy_by_site.items()
                   if stage.name in account.stages]
    parts = []
    if stage.peak_memory_mb is not None:
        parts.append(f"coordinator {stage.peak_memory_mb:,.0f} MB")
    if stage.site_peak_memory_mb or (stage.site_peak_memory_mb is not None and not withholding):
        parts.append(f"largest site {stage.site_peak_memory_mb:,.0f} MB")
    if withholding and stage.site_peak_memory_mb:
        parts.append(f"not counting {named(withholding)} (withheld)")
    elif withholding:
        parts.append("withheld by the sites")
    return ", ".join(parts) or "not measured"
