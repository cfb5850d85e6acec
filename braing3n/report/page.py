"""A run's folder in, one HTML file out: it needs no network, no script and no other file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from braing3n.errors import OutputError
from braing3n.files import write_text
from braing3n.pages import data_uri, page_template
from braing3n.report import figures
from braing3n.report.probe_table import probe_rows
from braing3n.report.run_folder import (
    PICTURE_NAMES,
    Exchange,
    MetricLine,
    RunRecord,
    StageRecord,
    load_generated,
    load_metrics,
    load_pictures,
    load_plan_text,
    load_run,
)

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
    """One stage as the page shows it, in words. `curves` are (name of the axis, data URI)."""

    name: str
    rounds: str
    sites: str
    time: str
    bytes_down: str
    bytes_up: str
    bytes_frozen: str
    memory: str
    metrics: tuple[tuple[str, str], ...]
    curves: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SitePictures:
    """One site's pictures: a data URI, or None where it kept them; and what is lacking."""

    site: str
    image: str | None
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """Exchanges that went alike: which, how many answered, who did not and why.

    Bytes are of one exchange: the mean, where several are taken together.
    """

    stage: str
    what: str
    answered: int
    asked: int
    lost: tuple[tuple[str, str], ...]
    bytes_down: str
    bytes_up: str


def write_report(run: Path) -> Path:
    """Write `report.html` into a run's folder and return its path.

    Parts that a run may lack, because it ended early or because sites keep their pictures, are
    said to be lacking in the report.

    Args:
        run: The folder that the coordinator wrote.

    Raises:
        OutputError: A file is missing or malformed, or the report cannot be written.
    """
    record = load_run(run)
    lines = load_metrics(run)
    styles = figures.site_styles(record.sites)
    generated = load_generated(run)
    html = page_template(Path(__file__).with_name("report.html.j2")).render(
        run=record,
        level=status_level(record.status),
        styles=styles,
        stages=[_stage_row(stage, lines, styles) for stage in record.stages],
        not_begun=[name for name in record.stage_names
                   if name not in {stage.name for stage in record.stages}],
        sent=_sent(record),
        findings=_findings(record),
        pictures=[_site_pictures(run, site) for site in record.sites],
        generated=None if generated is None else data_uri(figures.generated_grid(generated)),
        is_phantom=(run / "phantom" / "truth.tsv").exists(),
        generation=_generation(record.generation),
        probes=probe_rows(record.probes, record.sites),
        probe_bytes=tuple(map(human_bytes, (record.probes.bytes_up, record.probes.bytes_down))),
        outcomes=[row for stage in record.stages for row in outcomes(stage)],
        plan=load_plan_text(run),
    )
    path = run / "report.html"
    try:
        write_text(path, html)
    except OSError as error:
        raise OutputError(f"{path} cannot be written", expected="a folder to write in",
                          found=str(error), fix="check its permissions and the disk") from error
    return path


def status_level(status: str) -> str:
    """Return how good a run's status is: `whole`, `partial`, `failed` or `running`."""
    if status == "completed":
        return "whole"
    if status.startswith("completed"):
        return "partial"
    return "failed" if status.startswith("failed") else "running"


def outcomes(stage: StageRecord) -> list[Outcome]:
    """Return a stage's exchanges in order, those in a row that went alike taken together."""
    rows = []
    for _, group in groupby(stage.participation, key=_lost):
        same = list(group)
        first, last = same[0], same[-1]
        what = (f"round {first.round}" if len(same) == 1
                else f"rounds {first.round} to {last.round}")
        rows.append(_outcome(stage.name, what, same))
    return rows + [_outcome(stage.name, exchange.what or "another exchange", [exchange])
                   for exchange in stage.other_exchanges]


def _outcome(stage: str, what: str, same: Sequence[Exchange]) -> Outcome:
    first = same[0]
    return Outcome(stage, what, len(first.answered), len(first.asked), _lost(first),
                   human_bytes(sum(exchange.bytes_down for exchange in same) / len(same)),
                   human_bytes(sum(exchange.bytes_up for exchange in same) / len(same)))


def human_bytes(count: float) -> str:
    """Return a number of bytes in words: `2.05 MB` is 2,050,000 bytes."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def human_time(seconds: float) -> str:
    """Return a duration in words: `1 h 02 min`, `3 min 20 s`, `4.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _lost(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    """Return (site, why) of those that were asked and are not in the result."""
    return tuple((site, exchange.refused.get(site, "no answer")) for site in exchange.asked
                 if site not in exchange.answered)


def _stage_row(stage: StageRecord, lines: Sequence[MetricLine],
               styles: Mapping[str, figures.SiteStyle]) -> StageRow:
    done = len(stage.participation)
    images = figures.curves([line for line in lines if line.stage == stage.name], styles)
    memory = [f"{name} {value:,.0f} MB" for name, value in
              (("coordinator", stage.peak_memory_mb), ("largest site", stage.site_peak_memory_mb))
              if value is not None]
    return StageRow(
        name=stage.name,
        rounds=f"{done} of {stage.rounds}" if done != stage.rounds else str(done),
        sites=f"{stage.sites_answered} of {stage.sites_asked}",
        time=human_time(stage.seconds),
        bytes_down=human_bytes(stage.bytes_down),
        bytes_up=human_bytes(stage.bytes_up),
        bytes_frozen=human_bytes(stage.bytes_frozen),
        memory=", ".join(memory) or "not measured",
        metrics=_named(stage.metrics),
        curves=tuple((label, data_uri(image)) for label, image in images.items()),
    )


def _named(metrics: Mapping[str, float | None]) -> tuple[tuple[str, str], ...]:
    """Return (name, value with unit) as the page shows them."""
    known = [key for key in _METRICS if key in metrics]
    rows = []
    for key in [*known, *sorted(metrics.keys() - _METRICS.keys())]:
        value = metrics[key]
        name, unit = _METRICS.get(key, (key.replace("_", " "), ""))
        rows.append((name, "not measured" if value is None else f"{value:.3g}{unit}"))
    return tuple(rows)


def _sent(record: RunRecord) -> dict[str, str]:
    """Return the bytes that went both ways, and a site's share of those that left."""
    up = sum(stage.bytes_up for stage in record.stages)
    down = sum(stage.bytes_down + stage.bytes_frozen for stage in record.stages)
    exchanges = [e for stage in record.stages
                 for e in stage.participation + stage.other_exchanges]
    answers = sum(len(exchange.answered) for exchange in exchanges)
    return {"up": human_bytes(up), "down": human_bytes(down), "answers": f"{answers:,}",
            "each": human_bytes(up / answers) if answers else "nothing"}


def _findings(record: RunRecord) -> list[str]:
    """Return what the figures come to, each next to what costs nothing."""
    found = []
    for stage in record.stages:
        loss, trivial = stage.metrics.get("loss"), stage.metrics.get("trivial_loss")
        if loss is not None and trivial:
            found.append(f"{stage.name}: the held-out loss is {loss / trivial:.2f} times that of "
                         "predicting the mean (below 1 is better).")
        psnr, mean = stage.metrics.get("psnr"), stage.metrics.get("mean_volume_psnr")
        if psnr is not None and mean is not None:
            found.append(f"{stage.name}: reconstructions are {psnr - mean:+.1f} dB against "
                         "predicting the mean volume (above 0 is better).")
    return found


def _generation(figures_of: Mapping[str, float | None]) -> str | None:
    """Return how generated brains followed the age that was asked for, in a sentence."""
    rank, young, old, count = (figures_of.get(f"age_ventricle_{name}") for name in
                               ("spearman", "young_ml", "old_ml", "num_samples"))
    if rank is None or young is None or old is None or count is None:
        return None
    return (f"Generated brains: over {count:.0f} of ages 25 to 85, ventricles follow the age that was "
            f"asked for with a rank correlation of {rank:.2f} (1 is in perfect order, 0 not at all): "
            f"{young:.1f} ml in the younger half, {old:.1f} ml in the older.")


def _site_pictures(run: Path, site: str) -> SitePictures:
    pictures = load_pictures(run, site)
    if pictures is None:
        return SitePictures(site, None, ())
    return SitePictures(site, data_uri(figures.brain_slices(pictures)),
                        tuple(name for name in PICTURE_NAMES if name not in pictures))
